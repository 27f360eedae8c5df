from lit_mtl.commands.options import Option, options_of


def option(name: str, value: str | None = None) -> Option:
    return Option(flags=("-x", name), value=value, default=None, help="")


def test_the_section_is_the_part_of_the_config() -> None:
    found = {name: option(name).section for name in ("--model.lr", "--json", "--tasks.help")}
    assert found == {"--model.lr": "model", "--json": "", "--tasks.help": ""}
    assert option("--data.sources.help").section == "data"


def test_values_and_choices() -> None:
    assert option("--a", "{b,c}").choices == ["b", "c"]
    assert option("--a", "[b,c]").choices == option("--a").choices == []
    takes = {value: option("--a", value).takes_value for value in (None, "[=b]", "[B,...]", "B")}
    assert takes == {None: False, "[=b]": False, "[B,...]": True, "B": True}


def test_an_argument_is_named_by_its_value() -> None:
    assert Option(flags=(), value="path", default=None, help="").name == "path"


def test_commands_have_their_own_options_and_those_that_they_share() -> None:
    names = {name: [o.name for o in options_of(name)] for name in ("fit", "plan", "embed", "init")}
    assert names["plan"] == ["--generate", *names["fit"]]
    assert "path" in names["init"]
    assert "--trainer.devices" in names["embed"]
    assert "--model.lr" not in names["embed"]
