
/* From an image's bytes, pixel by pixel. */
void @NAME@_run_bytes(const uint8_t *bytes, float *logits);
void @NAME@_run_bytes_in(void *memory, const uint8_t *bytes, float *logits);
