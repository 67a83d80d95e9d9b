"""The flag that says which precision P counts."""

from typing import Annotated, Final

import typer

from computepool_client.cli import flags, units

PRECISIONS: Final = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8")


def parse_precision(text: str) -> str:
    """One of the precisions, or nothing for the broker's own.

    Raises:
        ValueError: there is no such precision.
    """
    return units.parse_word(text, PRECISIONS, "precision") if text else ""


Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=flags.parser(parse_precision),
        show_default="the broker's: fp16",
        help="Precision that P counts: " + ", ".join(PRECISIONS) + ".",
    ),
]
