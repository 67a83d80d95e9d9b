"""The gRPC face: validates, converts, calls a service, maps errors. The only users of grpc."""
