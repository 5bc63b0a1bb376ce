"""How a panel's text names the colour of a layer."""


def swatch(colour: str) -> str:
    """Give a square of a colour in HTML, to stand before what is drawn in it."""
    return f'<span style="color: {colour}">■</span>'
