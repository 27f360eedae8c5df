"""`completion`: a script that completes commands and options, for bash, zsh or fish.

The scripts hold all names, so that a shell asks no Python. They complete the installed command `lit_mtl`.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from shlex import quote

from lit_mtl.command_table import COMMANDS, PROG, TRAINER_HELP
from lit_mtl.commands.options import Option, options_of

_BASH = """# completion of lit_mtl in bash: eval "$({prog} completion bash)"
_lit_mtl() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} names=
    COMPREPLY=()
    if (( COMP_CWORD == 1 )) || [[ $COMP_CWORD == 2 && $before == help ]]; then
        COMPREPLY=($(compgen -W '{commands} help --help --version' -- "$word"))
        return
    fi
    # bash takes --flag=value for three words
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case ${{COMP_WORDS[1]}}:$before in
{values}
    esac
    if [[ $word == -* ]]; then
        case ${{COMP_WORDS[1]}} in
{options}
        esac
    fi
    COMPREPLY=($(compgen -W "$names" -- "$word"))
}}
complete -o bashdefault -o default -F _lit_mtl lit_mtl"""

_ZSH = """#compdef lit_mtl
# completion of lit_mtl in zsh: eval "$({prog} completion zsh)"
_lit_mtl() {{
    local -a commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{options}
        help) _describe command commands ;;
    esac
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
compdef _lit_mtl lit_mtl"""

_FISH = """# completion of lit_mtl in fish: {prog} completion fish | source
complete -c lit_mtl -n __fish_use_subcommand -f
complete -c lit_mtl -n '__fish_seen_subcommand_from help' -f -a '{names}'
{commands}
{options}"""


def run(name: str, args: Sequence[str]) -> None:
    """Run the command.

    Args:
        name: the command.
        args: what stands behind it.
    """
    print(SHELLS[parser(name).parse_args(args).shell]())


def parser(name: str) -> argparse.ArgumentParser:
    """What the command accepts.

    Args:
        name: the command.
    """
    parser = argparse.ArgumentParser(prog=f"{PROG} {name}", allow_abbrev=False)
    parser.add_argument("shell", choices=sorted(SHELLS), help="the shell")
    return parser


def bash() -> str:
    """The script for bash."""
    values = [
        f"        {name}:{option.name if option.flags else name})"
        f" names={quote(' '.join(option.choices))} ;;"
        for name in COMMANDS
        for option in _options(name)
        if option.choices
    ]
    flags = {name: [flag for o in _options(name) for flag in o.flags] for name in COMMANDS}
    options = [
        f"            {'|'.join(names)}) names={quote(text)} ;;"
        for text, names in _alike((name, " ".join(found)) for name, found in flags.items())
    ]
    return _BASH.format(
        prog=PROG, commands=" ".join(COMMANDS), values="\n".join(values), options="\n".join(options)
    )


def zsh() -> str:
    """The script for zsh."""
    commands = [f"        {quote(f'{name}:{each.summary}')}" for name, each in COMMANDS.items()]
    specs = {
        name: [quote(_zsh_spec(flag, o)) for o in _options(name) for flag in o.flags or ("",)]
        for name in COMMANDS
    }
    texts = ((name, " \\\n            ".join(found)) for name, found in specs.items())
    options = [
        f"        {'|'.join(names)}) _arguments \\\n            {text} ;;"
        for text, names in _alike(texts)
    ]
    return _ZSH.format(prog=PROG, commands="\n".join(commands), options="\n".join(options))


def _zsh_spec(flag: str, option: Option) -> str:
    """A specification for zsh's `_arguments`."""
    action = f"({' '.join(option.choices)})" if option.choices else "_files"
    if not flag:
        return f"*:{option.value}:{action}" if not option.choices else f"1:{option.name}:{action}"
    short = "".join("\\" + letter if letter in "[]:\\" else letter for letter in _short(option))
    if not option.takes_value:
        return f"*{flag}[{short}]"
    return f"*{flag}{'=' if flag.startswith('--') else ''}[{short}]:value:{action}"


def fish() -> str:
    """The script for fish."""
    commands = [
        f"complete -c lit_mtl -n __fish_use_subcommand -a {name} -d {_fish(command.summary)}"
        for name, command in COMMANDS.items()
    ]
    texts = ((name, _fish_option(option)) for name in COMMANDS for option in _options(name))
    options = [
        f"complete -c lit_mtl -n '__fish_seen_subcommand_from {' '.join(names)}' {text}"
        for text, names in _alike(texts)
    ]
    return _FISH.format(
        prog=PROG,
        names=" ".join(COMMANDS),
        commands="\n".join(commands),
        options="\n".join(options),
    )


def _fish_option(option: Option) -> str:
    choices = f" -f -a {_fish(' '.join(option.choices))}" if option.choices else ""
    names = [f"-{'l' if f.startswith('--') else 's'} {f.lstrip('-')}" for f in option.flags]
    needs = " -r" if option.takes_value and option.flags else ""
    return f"{' '.join(names)}{needs}{choices} -d {_fish(_short(option))}".strip()


def _fish(text: str) -> str:
    """Quoted for fish, in which a quote can be escaped within quotes."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _alike(texts: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    """Texts with the commands that share them, from pairs of command and text."""
    names: dict[str, list[str]] = {}
    for name, text in texts:
        names.setdefault(text, []).append(name)
    return names.items()


def _short(option: Option) -> str:
    return option.help.partition(". ")[0].removesuffix(".")


def _options(name: str) -> list[Option]:
    """What may stand behind a command."""
    options = options_of(name)
    if COMMANDS[name].takes_trainer_flags:
        text = "list all flags of Lightning's Trainer"
        options.append(Option(flags=(TRAINER_HELP,), value=None, default=None, help=text))
    return options


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
"""The script for each shell."""
