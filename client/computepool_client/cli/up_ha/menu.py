"""Single keys that become deeds: first what, then whom. Pure."""

from collections.abc import Sequence
from typing import Final

from computepool_client.cli.up_ha.script import ALL, DEEDS, Deed

_VERBS: Final = {"k": "kill", "s": "stop", "c": "continue", "r": "restart"}
_AT_ONCE: Final = {"x": Deed("cut"), "h": Deed("heal"), "u": Deed("mend", ALL)}
_MAIN: Final = (
    "k kill -9   s stop   c continue   r restart   u all up again"
    "   x cut off primary and a broker   h heal   F FLUSHALL   q end"
)
QUIT: Final = "q"
_FLUSH: Final = "F"


class Menu:
    """What the next key means.

    Attributes:
        prompt: what can be typed now, for people.
    """

    def __init__(self, brokers: Sequence[str], *, sentinels: bool) -> None:
        self._whom = {str(n + 1): name for n, name in enumerate(brokers)}
        self._whom |= {"p": "primary"}
        self._whom |= {"r": "replica", "s": "sentinel"} if sentinels else {}
        self._whom |= {"a": "agent-server", "m": "agent-simulated"}
        self._verb = ""
        self._confirming = False
        self.prompt = _MAIN

    def key(self, key: str) -> Deed | None:
        """Takes a key; the deed that is complete with it, if one is."""
        if self._confirming:
            sure = key in ("y", "Y")
            self._reset()
            return Deed("flushall") if sure else None
        if self._verb:
            verb, whom = self._verb, self._whom.get(key)
            self._reset()
            return Deed(verb, whom) if whom else None
        if key == _FLUSH:
            self._confirming = True
            self.prompt = "FLUSHALL empties the store of the primary. Sure? y yes   other keys: no"
        elif key in _VERBS:
            self._verb = _VERBS[key]
            whom = "   ".join(f"{each} {name}" for each, name in self._whom.items())
            self.prompt = f"{DEEDS[self._verb]}:   {whom}   other keys: nobody"
        return _AT_ONCE.get(key)

    def _reset(self) -> None:
        self._verb, self._confirming, self.prompt = "", False, _MAIN
