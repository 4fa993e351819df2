/* Run the network once and the plain dense one once; print logits and instructions. */
#include "image.h"
#include "machine.h"
#include "network.h"
#include "plain.h"

#include <stdio.h>

int main(void)
{
    static float logits[NETWORK_OUTPUTS];
    static int32_t sums[PLAIN_OUTPUTS];
    start_counting();
    uint32_t start = instructions();
    network_run_bytes(image, logits);
    const uint32_t sparse = instructions() - start;
    start = instructions();
    plain_run(image, sums);
    const uint32_t dense = instructions() - start;
    for (int i = 0; i < NETWORK_OUTPUTS; i++) {
        union {
            float number;
            uint32_t bits;
        } logit = {logits[i]};
        printf("logit %d %08lx\n", i, (unsigned long)logit.bits);
    }
    printf("instructions %lu plain %lu check %ld\n", (unsigned long)sparse, (unsigned long)dense, (long)sums[0]);
    return 0;
}
