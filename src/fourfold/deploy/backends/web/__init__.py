"""Networks in a browser: WebAssembly and a page around it."""
