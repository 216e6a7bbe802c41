"""Addresses of the pages on which models learn."""

app_name = "rlhf"
urlpatterns: list = []  # type: ignore[type-arg]
