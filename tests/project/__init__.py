"""Of the project itself: how it is built, checked, packaged and described."""
