-- Makes a broker the only one that may write: the fence. Makes the store when there is none.
--
-- KEYS[1]: the meta hash.
-- ARGV: the new instance; the instance and serial that the caller has seen (empty when there was
-- no store, '*' to take over whatever has been written since); schema and identity of a store to
-- be made.
-- Returns 1, or 0 when another broker has written since: nothing was changed then.

local instance, seen_instance, seen_serial, schema, identity = unpack(ARGV)
local present = redis.call('HMGET', KEYS[1], 'instance', 'serial')
if seen_instance ~= '*' and ((present[1] or '') ~= seen_instance or (present[2] or '') ~= seen_serial) then
  return 0
end
if not present[1] then
  redis.call('HSET', KEYS[1], 'schema', schema, 'identity', identity, 'epoch', '1', 'epochs', '{}',
    'revision', '0')
end
redis.call('HSET', KEYS[1], 'instance', instance, 'serial', '0')
return 1
