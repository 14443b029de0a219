"""How the page looks: one theme from fonts of the visitor's own machine, one sheet of styles, one script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def styles() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


def head() -> str:
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return f'<meta name="description" content="A digest of diffusion papers that you can run."><script>{script}</script>'


def theme() -> Any:
    import gradio as gr

    teal = gr.themes.Color(
        c50="#eefaf8", c100="#d5f1ed", c200="#abe2db", c300="#79cdc4", c400="#45b0a6", c500="#1f8f86", c600="#0f716a", c700="#0d5a55",
        c800="#0e4845", c900="#0f3c3a", c950="#062322", name="teal",
    )  # fmt: skip
    stone = gr.themes.Color(
        c50="#fbfaf7", c100="#f4f2ed", c200="#e6e3db", c300="#d2cec4", c400="#a39e92", c500="#6f6a60", c600="#56524a", c700="#413e38",
        c800="#2a2825", c900="#1c1b19", c950="#131211", name="stone",
    )  # fmt: skip
    made = gr.themes.Base(
        primary_hue=teal, secondary_hue=teal, neutral_hue=stone, font=SANS, font_mono=MONO, radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md, spacing_size=gr.themes.sizes.spacing_md,
    )  # fmt: skip
    return made.set(
        body_background_fill="#fbfaf7", body_background_fill_dark="#161513", block_background_fill="#ffffff",
        block_background_fill_dark="#1f1e1b", block_border_color="#e6e3db", block_border_color_dark="#35322d", block_shadow="none",
        input_background_fill="#ffffff", input_background_fill_dark="#272521", input_border_color="#bdb8ac",
        input_border_color_dark="#4a463f", body_text_color="#23211e", body_text_color_dark="#eae7e0", body_text_color_subdued="#5f5a51",
        body_text_color_subdued_dark="#b1aca1", block_info_text_color="#5f5a51", block_info_text_color_dark="#b1aca1",
        block_label_text_color="#413e38", block_label_text_color_dark="#d2cec4", block_title_text_color="#2a2825",
        block_title_text_color_dark="#eae7e0", button_primary_background_fill="#0f716a", button_primary_background_fill_hover="#0d5a55",
        button_primary_background_fill_dark="#0f716a", button_primary_background_fill_hover_dark="#0f7c75",
        button_primary_text_color="#ffffff", button_primary_text_color_dark="#ffffff", input_placeholder_color="#716b60",
        input_placeholder_color_dark="#a39e92", input_border_width="1px", link_text_color="#0d5a55", link_text_color_dark="#79cdc4",
        button_secondary_background_fill="#f4f2ed", button_secondary_background_fill_dark="#302d29",
    )  # fmt: skip
