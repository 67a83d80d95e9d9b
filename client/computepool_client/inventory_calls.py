"""The calls about the pool itself, as data; see `calls`. Pure."""

from collections.abc import Mapping
from typing import Any

from computepool.v1 import inventory_pb2
from computepool_client import errors, inventory, inventory_from_wire, methods
from computepool_client.calls import PAGE, Call, Page, Pages


def view(precision: str) -> Call[Any, inventory.View]:
    """The one view."""
    request = inventory_pb2.GetViewRequest(precision=precision)
    return Call(methods.VIEW, lambda _: request, inventory_from_wire.view)


def centers(precision: str, filter_by: str, order_by: str) -> Pages[inventory.Center]:
    """Centers that match."""

    def page(token: str) -> Call[Any, Page[inventory.Center]]:
        request = inventory_pb2.ListCentersRequest(
            page_size=PAGE,
            page_token=token,
            filter=filter_by,
            order_by=order_by,
            precision=precision,
        )
        return Call(
            methods.CENTERS,
            lambda _: request,
            lambda answer: Page(
                tuple(
                    inventory_from_wire.center(each.region, each.role, each.view)
                    for each in answer.centers
                ),
                answer.next_page_token,
            ),
        )

    return page


def nodes(center: str, filter_by: str, order_by: str) -> Pages[inventory.Node]:
    """Nodes that match."""

    def page(token: str) -> Call[Any, Page[inventory.Node]]:
        request = inventory_pb2.ListNodesRequest(
            page_size=PAGE, page_token=token, center=center, filter=filter_by, order_by=order_by
        )
        return Call(
            methods.NODES,
            lambda _: request,
            lambda answer: Page(
                tuple(map(inventory_from_wire.node, answer.nodes)), answer.next_page_token
            ),
        )

    return page


def agents(filter_by: str, order_by: str) -> Pages[inventory.Agent]:
    """Agents that match."""

    def page(token: str) -> Call[Any, Page[inventory.Agent]]:
        request = inventory_pb2.ListAgentsRequest(
            page_token=token, filter=filter_by, order_by=order_by
        )
        return Call(
            methods.AGENTS,
            lambda _: request,
            lambda answer: Page(
                tuple(map(inventory_from_wire.agent, answer.agents)), answer.next_page_token
            ),
        )

    return page


def cordon(node: str, center: str, message: str) -> Call[Any, int]:
    """No new grants on a node or a center; gives the leases still there."""
    target = one_target(node, center)
    request = inventory_pb2.CordonRequest(message=message, **target)
    return Call(methods.CORDON, lambda _: request, lambda answer: int(answer.leases))


def uncordon(node: str, center: str) -> Call[Any, None]:
    """New grants again."""
    request = inventory_pb2.UncordonRequest(**one_target(node, center))
    return Call(methods.UNCORDON, lambda _: request, lambda _: None)


def forget(agent: str) -> Call[Any, tuple[int, int]]:
    """Strikes an agent off; gives the allocations lost and the nodes removed."""
    request = inventory_pb2.ForgetAgentRequest(agent=agent)
    return Call(
        methods.FORGET,
        lambda _: request,
        lambda answer: (int(answer.allocations_lost), int(answer.nodes_removed)),
        safe=False,  # the second time there is no such agent
    )


def audit() -> Call[Any, inventory.Audit]:
    """Recomputes everything and names what disagrees."""
    request = inventory_pb2.AuditPoolRequest()
    return Call(methods.AUDIT, lambda _: request, inventory_from_wire.audit)


def one_target(node: str, center: str) -> Mapping[str, Any]:
    """The node or the center that is meant.

    Raises:
        InvalidRequestError: neither is named, or both are.
    """
    if bool(node) == bool(center):
        raise errors.invalid("node", "name either a node or a center")
    return {"node": node} if node else {"center": center}
