"""Chat templates that write a date: seen, and pinned to one day."""

from datetime import UTC, datetime

CLOCK, KWARG = "strftime_now", "date_string"  # how a template asks for the time, or is told a date
DIRECTIVES = "aAbBcdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ"
FORMAT = "%d %b %Y"  # of `date_string`, in the templates that know it
PINNED = "{#- the date is pinned -#}"


def reads_clock(template: str) -> bool:
    """Say whether a template may ask what time it is."""
    return CLOCK in template and not template.startswith(PINNED)


def takes_date(template: str) -> bool:
    """Say whether a date would change what a template writes."""
    return reads_clock(template) or (KWARG in template and not template.startswith(PINNED))


def pinned(template: str, day: str) -> str:
    """Give a template that writes the same as on one day, whenever it is rendered.

    What asks for the time becomes a macro of the template itself, so that the date travels with
    the tokenizer: every process, engine and later user of the model renders the same text.

    Args:
        template: in Jinja.
        day: as YYYY-MM-DD; its time is midnight, UTC.
    """
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    forms = [f"%{flag}{letter}" for flag in ("-", "") for letter in DIRECTIVES]
    table = [[form, midnight.strftime(form)] for form in forms]
    head = (
        f"{PINNED}{{%- macro {CLOCK}(format) -%}}"
        "{%- set text = namespace(of=format.replace('%%', '\\0')) -%}"
        f"{{%- for form, value in {table!r} -%}}"
        "{%- set text.of = text.of.replace(form, value) -%}{%- endfor -%}"
        "{{- text.of.replace('\\0', '%') -}}{%- endmacro %}\n"
    )
    if KWARG in template:
        head += f"{{%- set {KWARG} = {midnight.strftime(FORMAT)!r} %}}\n"
    return head + template
