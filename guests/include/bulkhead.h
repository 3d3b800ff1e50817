/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bulkhead for guests in C: the calls, a channel's doorbell registers, and the ring of messages in its shared memory.
 * C11, no library but <stdint.h>, <stddef.h> and <string.h>. Numbers and layouts here do not change.
 *
 * A channel's addresses and interrupt stand in the device tree (node `channel@...`, compatible "bulkhead,channel"), or take
 * what `cargo xtask check` prints. Map the memory as normal memory; the registers as device memory.
 *
 *     struct bulkhead_link link;
 *     bulkhead_link_init(&link, memory, size, registers);
 *     for (;;) {
 *         switch (bulkhead_link_meet(&link)) {
 *         case BULKHEAD_OPENED: bulkhead_ring(registers);       // the partner looks, and sees this end open
 *         case BULKHEAD_UP:     ... send and receive ...
 *         default:              ... wait for the doorbell ...
 *         }
 *     }
 */
#ifndef BULKHEAD_H
#define BULKHEAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Calls: by HVC or SMC with immediate 0, the identifier in w0, arguments from x1 on, results from x0 on (SMCCC). */
#define BULKHEAD_FEATURES       UINT32_C(0x86000000) /* x0: bit n set when call n (below 32) is served */
#define BULKHEAD_YIELD          UINT32_C(0x86000001) /* to the tail of one's priority */
#define BULKHEAD_WATCHDOG_KICK  UINT32_C(0x86000002) /* puts the end of the watchdog's time off */
#define BULKHEAD_CHANNEL_SIGNAL UINT32_C(0x86000010) /* x1: channel; rings the partner's doorbell */
#define BULKHEAD_CHANNEL_STATUS UINT32_C(0x86000011) /* x1: channel; x1: PEER, x2: OWN, x3: INFO */
/* For those that a partition manages, by their number in the table; x1: number. For all others BULKHEAD_DENIED. */
#define BULKHEAD_PARTITION_LIST    UINT32_C(0x86000018) /* x1: how many there are, x2: bit n: it manages n, x3: its own */
#define BULKHEAD_PARTITION_INFO    UINT32_C(0x86000019) /* x1: STATE, x2: CRASHES, x3: LOG, x4 to x7: name */
#define BULKHEAD_PARTITION_STOP    UINT32_C(0x8600001a) /* begins: STATE tells how far it is */
#define BULKHEAD_PARTITION_START   UINT32_C(0x8600001b) /* or BULKHEAD_ALREADY_ON, BULKHEAD_STILL_STOPPING */
#define BULKHEAD_PARTITION_RESTART UINT32_C(0x8600001c) /* or BULKHEAD_STILL_STOPPING */
#define BULKHEAD_PARTITION_CRASH   UINT32_C(0x8600001d) /* x2: word; x1: CRASHES, x2 to x17: 16 words from that one on */
#define BULKHEAD_PARTITION_LOG     UINT32_C(0x8600001e) /* x2: position; x1: END, x2: first, x3: bytes, x4 to x17: these */
#define BULKHEAD_UID            UINT32_C(0x8600ff01) /* x0 to x3: e146778d-e90a-4506-8136-c83028dd011b */
#define BULKHEAD_REVISION       UINT32_C(0x8600ff03) /* x0: major, x1: minor */

/* Results. */
#define BULKHEAD_SUCCESS            INT64_C(0)
#define BULKHEAD_NOT_SUPPORTED      INT64_C(-1)
#define BULKHEAD_INVALID_PARAMETERS INT64_C(-2)
#define BULKHEAD_DENIED             INT64_C(-3) /* the caller may not, or the partner does not run */
#define BULKHEAD_ALREADY_ON         INT64_C(-4) /* it was started already */
#define BULKHEAD_STILL_STOPPING     INT64_C(-5) /* it is still stopping: ask again */

/* Doorbell registers, a page for each channel: offsets in bytes. */
#define BULKHEAD_REG_SIGNAL 0x00 /* 32 bits, write: rings the partner's doorbell */
#define BULKHEAD_REG_PEER   0x08 /* 64 bits, read: bit 0 it runs, bits 63:32 how often it was started */
#define BULKHEAD_REG_OWN    0x10 /* 64 bits, read: the same of this side */
#define BULKHEAD_REG_INFO   0x18 /* 32 bits, read: 7:0 version, 15:8 side, 16 may read, 17 may write the memory */
#define BULKHEAD_REG_SIZE   0x20 /* 64 bits, read: bytes of the shared memory */

/*
 * A manager's registers, a page for each partition that it manages, in the order of the table (node `manager@...`,
 * compatible "bulkhead,manager"): offsets in bytes.
 */
#define BULKHEAD_REG_CONTROL 0x000 /* 32 bits, write: 1 stop, 2 start, 3 restart; what is refused is ignored */
#define BULKHEAD_REG_STATE   0x008 /* 64 bits: 7:0 phase, 15:8 vCPUs, 16 it has a watchdog, 63:32 how often it was started */
#define BULKHEAD_REG_CRASHES 0x010 /* 64 bits: how many crash records were taken; the last one is kept */
#define BULKHEAD_REG_MANAGED 0x018 /* 64 bits: 7:0 version, 15:8 number of the partition, 31:16 words of a crash record */
#define BULKHEAD_REG_LOG     0x020 /* 64 bits: 31:0 END, bytes its console was ever sent, 63:32 how many of them are kept */
#define BULKHEAD_REG_NAME    0x040 /* 32 bytes, padded with zeros */
#define BULKHEAD_REG_CRASH   0x200 /* the words of the crash record */
#define BULKHEAD_REG_OUTPUT  0x800 /* byte n of what was sent is at n modulo 2048 */

/* Phases in STATE. */
#define BULKHEAD_STOPPED    0
#define BULKHEAD_LOADING    1
#define BULKHEAD_RUNNING    2
#define BULKHEAD_STOPPING   3
#define BULKHEAD_RESTARTING 4

/* Words of a crash record; those between are zero. */
#define BULKHEAD_CRASH_HEAD     0   /* 7:0 version, 15:8 vCPU, 23:16 cause (1 fault, 2 watchdog), 31:24 records, 63:32 start */
#define BULKHEAD_CRASH_TIME     1   /* ticks of the physical count */
#define BULKHEAD_CRASH_TRAP     2   /* ESR_EL2, FAR_EL2, guest-physical address */
#define BULKHEAD_CRASH_PC       5   /* program counter, PSTATE */
#define BULKHEAD_CRASH_SYSTEM   7   /* SP_EL0, SP_EL1, ELR, SPSR, ESR, FAR, VBAR, SCTLR, TTBR0, TTBR1 of EL1 */
#define BULKHEAD_CRASH_BYTES    17  /* bytes at BULKHEAD_CRASH_CONSOLE */
#define BULKHEAD_CRASH_GPR      18  /* x0 to x30 */
#define BULKHEAD_CRASH_TRACE    64  /* trace records, the newest first, two words each */
#define BULKHEAD_CRASH_CAUSE    96  /* 64 bytes of text */
#define BULKHEAD_CRASH_SYNDROME 104 /* 64 bytes of text */
#define BULKHEAD_CRASH_CONSOLE  112 /* the last that was sent to the console */
#define BULKHEAD_CRASH_WORDS    176

/*
 * Layout of a half of the shared memory; half 0 is written by side 0 alone, half 1 by side 1. 64-bit little-endian.
 * Byte n of a ring's stream lies at n modulo the ring's size, which is the half less BULKHEAD_HALF_RING.
 * A message is its length in 64 bits, then its bytes, filled up to a multiple of 8.
 */
#define BULKHEAD_HALF_SESSION 0x00 /* 63:32 the owner's generation, 31:0 that of the partner it talks to; 0: closed */
#define BULKHEAD_HALF_WRITTEN 0x08 /* bytes that the owner has put into this half's ring, ever */
#define BULKHEAD_HALF_READ    0x10 /* bytes that the owner has taken out of the other half's ring, ever */
#define BULKHEAD_HALF_CLAIMED 0x18 /* one way: WRITTEN as it will be after the message under way */
#define BULKHEAD_HALF_RING    0x40

#if defined(__aarch64__)
/* Makes a call; results[0] to results[3] become x0 to x3. */
static inline void bulkhead_call(uint32_t function, uint64_t argument, uint64_t results[4])
{
    register uint64_t x0 __asm__("x0") = function;
    register uint64_t x1 __asm__("x1") = argument;
    register uint64_t x2 __asm__("x2") = 0;
    register uint64_t x3 __asm__("x3") = 0;
    __asm__ volatile("dsb sy\n\thvc #0"
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
                     :
                     : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
                       "memory");
    results[0] = x0;
    results[1] = x1;
    results[2] = x2;
    results[3] = x3;
}

/* Rings the partner of a channel by call; returns BULKHEAD_SUCCESS, _INVALID_PARAMETERS or _DENIED. */
static inline int64_t bulkhead_channel_signal(uint32_t channel)
{
    uint64_t results[4];
    bulkhead_call(BULKHEAD_CHANNEL_SIGNAL, channel, results);
    return (int64_t)results[0];
}
#endif

/* Reads a doorbell register. */
static inline uint64_t bulkhead_register(const volatile void *registers, size_t offset)
{
    return *(const volatile uint64_t *)((const volatile unsigned char *)registers + offset);
}

/* Rings the partner's doorbell by its register. */
static inline void bulkhead_ring(volatile void *registers)
{
#if defined(__aarch64__)
    __asm__ volatile("dsb sy" ::: "memory");
#endif
    *(volatile uint32_t *)registers = 1;
}

/* One end of a channel with a ring each way. One thread uses it at a time. */
struct bulkhead_link {
    volatile unsigned char *mine;
    volatile unsigned char *theirs;
    const volatile void *registers;
    uint64_t ring; /* bytes of a ring */
    uint64_t written;
    uint64_t read;
    uint64_t session; /* what SESSION of this half is to be; 0 before the partner was met */
    int up;
    int broken;
};

/* How an end stands to its partner. */
enum bulkhead_state {
    BULKHEAD_DOWN,    /* the partner does not run */
    BULKHEAD_WAITING, /* it has not opened its end for this life of ours; ring it, so that it looks */
    BULKHEAD_OPENED,  /* both ends are open, since just now */
    BULKHEAD_UP,      /* both ends are open */
    BULKHEAD_BROKEN   /* it wrote nonsense; nothing goes on before its next life */
};

/* What sending and receiving return, beside the length of a message. */
#define BULKHEAD_NOTHING  (-1L) /* there is no message */
#define BULKHEAD_FULL     (-2L) /* the partner has not taken enough out of the ring */
#define BULKHEAD_TOO_LONG (-3L) /* longer than the ring, or than the buffer (the message stays) */
#define BULKHEAD_CLOSED   (-4L) /* the partner stopped or restarted: see bulkhead_link_meet */
#define BULKHEAD_CORRUPT  (-5L) /* it wrote nonsense */

static inline uint64_t bulkhead_load_(const volatile unsigned char *half, size_t offset)
{
    return __atomic_load_n((const volatile uint64_t *)(half + offset), __ATOMIC_ACQUIRE);
}

static inline void bulkhead_store_(volatile unsigned char *half, size_t offset, uint64_t value)
{
    __atomic_store_n((volatile uint64_t *)(half + offset), value, __ATOMIC_RELEASE);
}

/* Returns where a byte of a stream lies: inside the half, whatever the position. */
static inline volatile uint64_t *bulkhead_word_(const struct bulkhead_link *link, volatile unsigned char *half,
                                                uint64_t position)
{
    return (volatile uint64_t *)(half + BULKHEAD_HALF_RING + (position % link->ring) / 8 * 8);
}

static inline uint64_t bulkhead_space_(uint64_t length)
{
    return 8 + (length + 7) / 8 * 8;
}

/* Makes an end of the channel with these registers and memory; 0, or -1 when the memory is too small for rings. */
static inline int bulkhead_link_init(struct bulkhead_link *link, void *memory, size_t size,
                                     const volatile void *registers)
{
    size_t half = size / 16 * 8;
    unsigned side = (unsigned)(bulkhead_register(registers, BULKHEAD_REG_INFO) >> 8) & 1;
    volatile unsigned char *base = (volatile unsigned char *)memory;
    memset(link, 0, sizeof *link);
    if (half < BULKHEAD_HALF_RING + 64)
        return -1;
    link->mine = base + side * half;
    link->theirs = base + (1 - side) * half;
    link->registers = registers;
    link->ring = half - BULKHEAD_HALF_RING;
    return 0;
}

/* Says whether the partner's end is open for this life of ours. */
static inline int bulkhead_is_open_(const struct bulkhead_link *link)
{
    uint64_t wanted = link->session << 32 | link->session >> 32;
    return link->session != 0 && bulkhead_load_(link->theirs, BULKHEAD_HALF_SESSION) == wanted;
}

/*
 * Looks at the partner, opens this end for it when it is new, and says how things stand. To be called at the start, when the
 * doorbell rings, and after BULKHEAD_CLOSED. When it returns BULKHEAD_OPENED, ring the partner's doorbell.
 */
static inline enum bulkhead_state bulkhead_link_meet(struct bulkhead_link *link)
{
    uint64_t peer = bulkhead_register(link->registers, BULKHEAD_REG_PEER);
    uint64_t own = bulkhead_register(link->registers, BULKHEAD_REG_OWN);
    uint64_t session = own >> 32 << 32 | peer >> 32;
    int before;
    if ((peer & 1) == 0) {
        link->up = 0;
        return BULKHEAD_DOWN;
    }
    if (link->session != session) {
        link->session = session;
        link->up = 0;
        link->broken = 0;
        if (bulkhead_load_(link->mine, BULKHEAD_HALF_SESSION) == session) {
            link->written = bulkhead_load_(link->mine, BULKHEAD_HALF_WRITTEN);
            link->read = bulkhead_load_(link->mine, BULKHEAD_HALF_READ);
        } else {
            link->written = 0;
            link->read = 0;
            bulkhead_store_(link->mine, BULKHEAD_HALF_SESSION, 0);
            bulkhead_store_(link->mine, BULKHEAD_HALF_WRITTEN, 0);
            bulkhead_store_(link->mine, BULKHEAD_HALF_READ, 0);
            bulkhead_store_(link->mine, BULKHEAD_HALF_SESSION, session);
        }
    }
    if (link->broken)
        return BULKHEAD_BROKEN;
    before = link->up;
    link->up = bulkhead_is_open_(link);
    if (!link->up)
        return BULKHEAD_WAITING;
    return before ? BULKHEAD_UP : BULKHEAD_OPENED;
}

/* Closes this end until the partner's next life. */
static inline long bulkhead_break_off_(struct bulkhead_link *link)
{
    link->broken = 1;
    link->up = 0;
    bulkhead_store_(link->mine, BULKHEAD_HALF_SESSION, 0);
    return BULKHEAD_CORRUPT;
}

/* Reads one of the partner's counts; 0, or BULKHEAD_CLOSED when it is not of this session. */
static inline long bulkhead_count_(struct bulkhead_link *link, size_t offset, uint64_t *count)
{
    int open;
    if (link->broken || !link->up)
        return BULKHEAD_CLOSED;
    open = bulkhead_is_open_(link);
    *count = bulkhead_load_(link->theirs, offset);
    if (!open || !bulkhead_is_open_(link)) {
        link->up = 0;
        return BULKHEAD_CLOSED;
    }
    return 0;
}

/* Puts a message into the ring: 0, or one of the numbers above. The partner is not rung. */
static inline long bulkhead_link_send(struct bulkhead_link *link, const void *message, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)message;
    uint64_t count, used, position, word;
    size_t done, part;
    long result;
    if (length > link->ring - 8)
        return BULKHEAD_TOO_LONG;
    result = bulkhead_count_(link, BULKHEAD_HALF_READ, &count);
    if (result != 0)
        return result;
    used = link->written - count;
    if (used > link->ring || used % 8 != 0)
        return bulkhead_break_off_(link);
    if (bulkhead_space_(length) > link->ring - used)
        return BULKHEAD_FULL;
    position = link->written;
    *bulkhead_word_(link, link->mine, position) = length;
    position += 8;
    for (done = 0; done < length; done += 8, position += 8) {
        part = length - done < 8 ? length - done : 8;
        word = 0;
        memcpy(&word, bytes + done, part);
        *bulkhead_word_(link, link->mine, position) = word;
    }
    link->written = position;
    bulkhead_store_(link->mine, BULKHEAD_HALF_WRITTEN, position);
    return 0;
}

/* Takes a message out of the partner's ring: its length, or one of the numbers above. */
static inline long bulkhead_link_receive(struct bulkhead_link *link, void *buffer, size_t size)
{
    unsigned char *bytes = (unsigned char *)buffer;
    uint64_t count, available, length, position, word;
    size_t done, part;
    long result = bulkhead_count_(link, BULKHEAD_HALF_WRITTEN, &count);
    if (result != 0)
        return result;
    available = count - link->read;
    if (available > link->ring || available % 8 != 0)
        return bulkhead_break_off_(link);
    if (available == 0)
        return BULKHEAD_NOTHING;
    position = link->read;
    length = *bulkhead_word_(link, link->theirs, position);
    if (length > link->ring || bulkhead_space_(length) > available)
        return bulkhead_break_off_(link);
    if (length > size)
        return BULKHEAD_TOO_LONG;
    position += 8;
    for (done = 0; done < length; done += 8, position += 8) {
        part = (size_t)length - done < 8 ? (size_t)length - done : 8;
        word = *bulkhead_word_(link, link->theirs, position);
        memcpy(bytes + done, &word, part);
    }
    link->read = position;
    bulkhead_store_(link->mine, BULKHEAD_HALF_READ, position);
    return (long)length;
}

#ifdef __cplusplus
}
#endif

#endif
