"""Types: what the checker says of two mistakes that run without a complaint."""


def greet(name: str) -> str:
    return f"Hello, {name}!"


def find_name(names: dict[int, str], id_: int) -> str | None:
    return names.get(id_)


def mistakes() -> list[str]:
    return [
        greet(42),  # type: ignore[arg-type]
        greet(find_name({1: "Ada"}, 2)),  # type: ignore[arg-type]
    ]
