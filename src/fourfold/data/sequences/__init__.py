"""Series of unequal length: `.ts` files, recordings of speech, and what makes padded batches with lengths of them."""
