
void @NAME@_run_bytes(const uint8_t *bytes, float *logits) { run(own, 0, bytes, logits); }

void @NAME@_run_bytes_in(void *memory, const uint8_t *bytes, float *logits) { run(memory, 0, bytes, logits); }
