"""`dslice web`: all slices and nodes in a browser, by the server of `svm web` (docs/web.md)."""
