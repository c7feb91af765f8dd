/* A stand-in for libnvidia-ml.so.1, with only what the probe asks. It describes the machine in the file that
 * NVML_STUB names; each line is one of
 *     init CODE                                  what nvmlInit answers
 *     driver VERSION                             cuda NUMBER (13000 is 13.0)
 *     card TOTAL_MIB USED_MIB MAJOR MINOR CODE NAME…   CODE: what every question about this card answers (0: well)
 *     holder CARD PID MIB
 *     mig CARD TOTAL_MIB USED_MIB GPU_SLICES COMPUTE_SLICES NAMED   a slice, the card being in MIG mode; NAMED: whether
 *         its name has the profile in it, as newer drivers write it. MIG mode without a slice: all zero
 *     mig_holder SLICE PID MIB                   slices are numbered over all cards
 *     ecc CARD VOLATILE AGGREGATE                errors that could not be corrected; other cards have no such counters
 *     rows CARD PENDING FAILED                   pages CARD PENDING
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1024ULL * 1024ULL)
enum { OK = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7 };

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int counts[6], gpu_slices, compute_slices; unsigned long long memory_mb; } Attributes;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu_instance, compute_instance; } Process;
static struct { unsigned long long total, used; int major, minor, code; char name[96]; } cards[16];
static struct { unsigned int card, pid; unsigned long long mib; } holders[16]; /* card 100 up: slices */
static struct { unsigned int card; unsigned long long total, used; unsigned int gpu, compute; int named; } slices[16];
static struct { int known, rows, pages; unsigned long long recent, ever; int pending, failed, page_pending; } health[16];
static unsigned int card_count, holder_count, slice_count;
static int mig[16];
static int init_code, cuda = 13000;
static char driver[80] = "580.65.06";

int nvmlInitWithFlags(unsigned int flags) {
    char line[256];
    FILE *file = fopen(getenv("NVML_STUB"), "r");
    (void)flags;
    if (!file) return 999;
    card_count = holder_count = slice_count = 0;
    while (fgets(line, sizeof line, file)) {
        unsigned long long a, b;
        int major, minor, code, named;
        unsigned int gpu, compute;
        char name[96];
        if (sscanf(line, "mig_holder %d %d %llu", &major, &minor, &a) == 3) {
            holders[holder_count].card = 100 + major, holders[holder_count].pid = minor, holders[holder_count++].mib = a;
            continue;
        }
        if (sscanf(line, "mig %d %llu %llu %u %u %d", &major, &a, &b, &gpu, &compute, &named) == 6) {
            mig[major] = 1;
            if (!a) continue;
            slices[slice_count].card = major, slices[slice_count].total = a, slices[slice_count].used = b;
            slices[slice_count].gpu = gpu, slices[slice_count].compute = compute, slices[slice_count++].named = named;
            continue;
        }
        if (sscanf(line, "ecc %d %llu %llu", &major, &a, &b) == 3) {
            health[major].known = 1, health[major].recent = a, health[major].ever = b;
            continue;
        }
        if (sscanf(line, "rows %d %d %d", &major, &minor, &code) == 3) {
            health[major].rows = 1, health[major].pending = minor, health[major].failed = code;
            continue;
        }
        if (sscanf(line, "pages %d %d", &major, &minor) == 2) {
            health[major].pages = 1, health[major].page_pending = minor;
            continue;
        }
        if (sscanf(line, "init %d", &init_code) == 1) continue;
        if (sscanf(line, "driver %79s", driver) == 1) continue;
        if (sscanf(line, "cuda %d", &cuda) == 1) continue;
        if (sscanf(line, "card %llu %llu %d %d %d %95[^\n]", &a, &b, &major, &minor, &code, name) == 6) {
            cards[card_count].total = a, cards[card_count].used = b;
            cards[card_count].major = major, cards[card_count].minor = minor, cards[card_count].code = code;
            strcpy(cards[card_count++].name, name);
        } else if (sscanf(line, "holder %d %d %llu", &major, &minor, &a) == 3) {
            holders[holder_count].card = major, holders[holder_count].pid = minor, holders[holder_count++].mib = a;
        }
    }
    fclose(file);
    return init_code;
}

int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : "An error of the stub"; }
int nvmlSystemGetDriverVersion(char *text, unsigned int size) { snprintf(text, size, "%s", driver); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = cuda; return OK; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = card_count; return OK; }
int nvmlSystemGetProcessName(unsigned int pid, char *text, unsigned int size) {
    snprintf(text, size, "/usr/bin/program-%u", pid);
    return OK;
}

/* A handle is the card's number plus one, so that none is NULL; a slice's 101 and up. */
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index >= card_count) return NOT_FOUND;
    *device = (void *)(size_t)(index + 1);
    return cards[index].code;
}
static unsigned int number(void *device) { return (unsigned int)(size_t)device - 1; }
static int is_slice(void *device) { return number(device) >= 100; }
int nvmlDeviceGetName(void *device, char *text, unsigned int size) {
    if (is_slice(device)) {
        unsigned int i = number(device) - 100;
        const char *name = cards[slices[i].card].name;
        if (slices[i].named) snprintf(text, size, "%s MIG %ug.%llugb", name, slices[i].gpu, (slices[i].total + 1023) / 1024);
        else snprintf(text, size, "%s", name);
        return OK;
    }
    snprintf(text, size, "%s", cards[number(device)].name);
    return OK;
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned int size) {
    snprintf(text, size, "%s-%08u-0000", is_slice(device) ? "MIG" : "GPU", number(device));
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    if (is_slice(device)) return NOT_SUPPORTED;
    *major = cards[number(device)].major, *minor = cards[number(device)].minor;
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    if (is_slice(device)) {
        memory->total = slices[number(device) - 100].total * MIB, memory->used = slices[number(device) - 100].used * MIB;
    } else {
        if (mig[number(device)]) return NO_PERMISSION; /* as in a container that was given a slice */
        if (!cards[number(device)].total) return NOT_SUPPORTED;
        memory->total = cards[number(device)].total * MIB, memory->used = cards[number(device)].used * MIB;
    }
    memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) {
    if (cards[number(device)].major < 8) return NOT_SUPPORTED;
    *current = *pending = mig[number(device)];
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count) { (void)device, *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned int index, void **slice) {
    unsigned int i, seen = 1; /* number 0 is empty, as after a slice was removed */
    for (i = 0; i < slice_count; i++) {
        if (slices[i].card != number(device) || seen++ != index) continue;
        *slice = (void *)(size_t)(101 + i);
        return OK;
    }
    return NOT_FOUND;
}
int nvmlDeviceGetAttributes_v2(void *device, Attributes *attributes) {
    if (!is_slice(device)) return NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = slices[number(device) - 100].gpu;
    attributes->compute_slices = slices[number(device) - 100].compute;
    attributes->memory_mb = slices[number(device) - 100].total;
    return OK;
}
int nvmlDeviceGetTotalEccErrors(void *device, int corrected, int ever, unsigned long long *count) {
    if (!health[number(device)].known) return NOT_SUPPORTED;
    *count = corrected == 0 ? 1234 : ever ? health[number(device)].ever : health[number(device)].recent;
    return OK;
}
int nvmlDeviceGetRemappedRows(void *device, unsigned *few, unsigned *many, unsigned *pending, unsigned *failed) {
    if (!health[number(device)].rows) return NOT_SUPPORTED;
    *few = *many = 1, *pending = health[number(device)].pending, *failed = health[number(device)].failed;
    return OK;
}
int nvmlDeviceGetRetiredPagesPendingStatus(void *device, int *pending) {
    if (!health[number(device)].pages) return NOT_SUPPORTED;
    *pending = health[number(device)].page_pending;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, Process *list) {
    unsigned int found = 0, i;
    for (i = 0; i < holder_count; i++) {
        if (holders[i].card != number(device)) continue;
        if (list && found < *count) {
            list[found].pid = holders[i].pid;
            list[found].used = holders[i].mib ? holders[i].mib * MIB : ~0ULL;
            list[found].gpu_instance = list[found].compute_instance = ~0U;
        }
        found++;
    }
    i = *count;
    *count = found;
    return found && (!list || i < found) ? TOO_SMALL : OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *count, Process *list) {
    (void)device, (void)list;
    *count = 0;
    return OK;
}
