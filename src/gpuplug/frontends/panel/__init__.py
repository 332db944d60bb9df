"""The panel: one state for the sidebar and the widget, and what may be asked for from there (docs/panel.md)."""
