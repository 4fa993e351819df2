
/* What the runtime of the Python package adds to a network's own code: batches, and threads that share their work. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t begins, ends;
    int parts; /* threads, the caller's among them */
    int left;  /* threads that have not ended the present call */
    uint32_t call;
    int stopping;
    /* The present call: images of one kind to logits, each thread in its own memory or all in that of the first. */
    char *memory;
    const float *image;
    const uint8_t *bytes;
    float *logits;
    int64_t images, next;
    int arrived;
    uint32_t turn;
    pthread_t *threads;
};

struct worker {
    struct workers *all;
    int part;
};

enum { INPUTS = @GUARD@_INPUTS, BYTES = @GUARD@_BYTES, OUTPUTS = @GUARD@_OUTPUTS, STEPS = @GUARD@_STEPS };
static const char alone[STEPS] = {@ALONE@}; /* steps so small that the first thread takes them whole */
enum { SPINS = 1 << 15 }; /* looks at what a thread waits for, some tens of microseconds, before it lets others run */

static void one(char *memory, const float *image, const uint8_t *bytes, float *logits, int64_t index)
{
    run(memory, image ? image + index * INPUTS : 0, bytes ? bytes + index * BYTES : 0, logits + index * OUTPUTS);
}

void run_images(char *memory, const float *image, const uint8_t *bytes, float *logits, int64_t images)
{
    for (int64_t index = 0; index < images; index++)
        one(memory, image, bytes, logits, index);
}

/* Wait until all threads have ended a step. */
static void meet(struct workers *all)
{
    const uint32_t turn = __atomic_load_n(&all->turn, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&all->arrived, 1, __ATOMIC_ACQ_REL) == all->parts) {
        __atomic_store_n(&all->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&all->turn, turn + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spin = 0; __atomic_load_n(&all->turn, __ATOMIC_ACQUIRE) == turn; spin++)
        if (spin > SPINS)
            sched_yield();
}

/* The work of one thread in a call: whole images while there are as many as threads, else its part of every step. */
static void work(struct workers *all, int part)
{
    if (all->images >= all->parts) {
        char *const memory = all->memory + (int64_t)part * @GUARD@_ARENA;
        for (int64_t index; (index = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED)) < all->images;)
            one(memory, all->image, all->bytes, all->logits, index);
        return;
    }
    for (int64_t index = 0; index < all->images; index++)
        for (int step = 0; step < STEPS; step++) {
            if (!alone[step] || part == 0)
                @NAME@_step(step, part, alone[step] ? 1 : all->parts, all->memory, all->image ? all->image + index * INPUTS : 0,
                            all->bytes ? all->bytes + index * BYTES : 0, all->logits + index * OUTPUTS);
            const int last = step + 1 == STEPS;
            if (last ? index + 1 < all->images : !(alone[step] && alone[step + 1]))
                meet(all);
        }
}

static void *serve(void *argument)
{
    struct worker me = *(struct worker *)argument;
    uint32_t served = 0;
    free(argument);
    for (;;) {
        for (int spin = 0; spin < SPINS && __atomic_load_n(&me.all->call, __ATOMIC_ACQUIRE) == served; spin++) {
        }
        pthread_mutex_lock(&me.all->lock);
        while (me.all->call == served && !me.all->stopping)
            pthread_cond_wait(&me.all->begins, &me.all->lock);
        served = me.all->call;
        const int stopping = me.all->stopping;
        pthread_mutex_unlock(&me.all->lock);
        if (stopping)
            return 0;
        work(me.all, me.part);
        pthread_mutex_lock(&me.all->lock);
        if (__atomic_sub_fetch(&me.all->left, 1, __ATOMIC_RELEASE) == 0)
            pthread_cond_signal(&me.all->ends);
        pthread_mutex_unlock(&me.all->lock);
    }
}

void stop_workers(struct workers *all)
{
    pthread_mutex_lock(&all->lock);
    all->stopping = 1;
    pthread_cond_broadcast(&all->begins);
    pthread_mutex_unlock(&all->lock);
    for (int part = 1; part < all->parts; part++)
        pthread_join(all->threads[part], 0);
    free(all->threads);
    free(all);
}

/* Start the threads beside the caller's; a null pointer where the system gives none. */
struct workers *start_workers(int parts)
{
    struct workers *all = calloc(1, sizeof *all);
    if (!all)
        return 0;
    all->threads = calloc((size_t)parts, sizeof *all->threads);
    pthread_mutex_init(&all->lock, 0);
    pthread_cond_init(&all->begins, 0);
    pthread_cond_init(&all->ends, 0);
    for (all->parts = 1; all->parts < parts; all->parts++) {
        struct worker *worker = all->threads ? malloc(sizeof *worker) : 0;
        if (worker)
            *worker = (struct worker){all, all->parts};
        if (!worker || pthread_create(&all->threads[all->parts], 0, serve, worker)) {
            free(worker);
            stop_workers(all);
            return 0;
        }
    }
    return all;
}

void run_shared(struct workers *all, char *memory, const float *image, const uint8_t *bytes, float *logits, int64_t images)
{
    pthread_mutex_lock(&all->lock);
    all->memory = memory, all->image = image, all->bytes = bytes, all->logits = logits, all->images = images;
    all->next = 0;
    all->left = all->parts - 1;
    __atomic_store_n(&all->call, all->call + 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&all->begins);
    pthread_mutex_unlock(&all->lock);
    work(all, 0);
    for (int spin = 0; spin < SPINS && __atomic_load_n(&all->left, __ATOMIC_ACQUIRE); spin++) {
    }
    pthread_mutex_lock(&all->lock);
    while (all->left)
        pthread_cond_wait(&all->ends, &all->lock);
    pthread_mutex_unlock(&all->lock);
}
