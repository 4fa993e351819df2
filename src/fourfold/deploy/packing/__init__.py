"""How an artifact's arrays are stored: which weights are kept, their values, and the coding of both. No torch here."""
