"""The server's own API, below `/api/bis/1`: small, regular, and described by `openapi.json` there, which is made from
the structs that are read and written."""
