
/* What JavaScript calls: it writes an image's numbers, as the network sees them, to `numbers`, runs, and reads `logits`. */
static float image_numbers[@INPUTS@] ALIGNED;
static float output_numbers[@OUTPUTS@] ALIGNED;

__attribute__((export_name("numbers"))) float *exported_numbers(void) { return image_numbers; }
__attribute__((export_name("logits"))) float *exported_logits(void) { return output_numbers; }
__attribute__((export_name("run_numbers"))) void exported_run_numbers(void) { @NAME@_run(image_numbers, output_numbers); }
#if @BYTES@

/* The same for an image's bytes. */
static uint8_t image_bytes[@BYTES@] ALIGNED;

__attribute__((export_name("image"))) uint8_t *exported_image(void) { return image_bytes; }
__attribute__((export_name("run"))) void exported_run(void) { @NAME@_run_bytes(image_bytes, output_numbers); }
#endif
