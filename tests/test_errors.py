import pytest

from lit_mtl.errors import (
    ConfigError,
    DataError,
    DivergedError,
    LitMTLError,
    MissingInputError,
    StorageError,
    printable,
)


@pytest.mark.parametrize(
    ("error", "code", "builtin"),
    [
        (ConfigError, 2, ValueError),
        (DataError, 65, ValueError),
        (MissingInputError, 66, FileNotFoundError),
        (DivergedError, 70, ArithmeticError),
        (StorageError, 74, OSError),
    ],
)
def test_each_kind_has_its_exit_code_and_a_builtin_base(
    error: type[LitMTLError], code: int, builtin: type[Exception]
) -> None:
    assert error.exit_code == code
    assert issubclass(error, builtin)
    assert str(error("what was found")) == "what was found"


def test_what_could_steer_a_terminal_is_escaped_and_all_else_stays() -> None:
    assert printable("é 日本\n\x1b[2J\r\x07\u202e") == "é 日本\n\\x1b[2J\\r\\x07\\u202e"
