"""`svm web`: the user's slices in a browser, served on loopback with the user's own certificate (docs/web.md)."""
