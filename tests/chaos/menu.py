"""All faults; a new family is a module with a function `faults`, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos import faults_crowd, faults_network, faults_processes, faults_redis

if TYPE_CHECKING:
    from chaos.fault import Fault
    from chaos.world import Shape

FAMILIES = (faults_processes, faults_redis, faults_network, faults_crowd)


def menu(shape: Shape) -> list[Fault]:
    """Those that a pool of this shape can have, new each time, in the same order."""
    made: list[Fault] = [fault for family in FAMILIES for fault in family.faults()]
    return [fault for fault in made if fault.terms.allow(shape)]
