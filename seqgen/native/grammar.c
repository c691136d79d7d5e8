/* The event grammar of `music/grammar.py`, which defines it, for sampling: the state of a piece and the mask of events
 * that may follow. Only events that the mask allows are pushed. Integers have 64 bits; −1 is none. */

#include "native.h"

enum { BAR, METRE, POSITION, TEMPO, TRACK, PROGRAM, DRUMS, VELOCITY, LONGER, DURATION, NOTE, DRUM, END, EVENT_TYPES };
enum { TRACKS = 16, PITCHES = 128 };

/* An event vocabulary. */
typedef struct {
    int64_t size, longest, most_longer, rising; /* `longest`: the most steps of one duration event */
    int64_t first[EVENT_TYPES], sizes[EVENT_TYPES];
    int64_t after[EVENT_TYPES]; /* for each event type, a bit set of those that may follow */
    const int64_t *bar_lengths; /* of each metre, in steps */
} Vocabulary;

typedef struct {
    int64_t drums, velocity, duration; /* drums: 1, 0, or −1 while unknown */
    int64_t ends[PITCHES];             /* of the last note of each pitch, in steps */
} TrackState;

typedef struct {
    int64_t previous, metre, now, bar, length; /* `bar`: start of the bar; `length`: of the bar */
    int64_t tempo, track, group, last, longer;
    int64_t parts, melodic, has_drums, tempo_changes, may_end, any_pitch;
    uint8_t pitches[PITCHES]; /* 1 for those that melodic tracks may play */
    TrackState part[TRACKS];
} GrammarState;

static ALWAYS_INLINE int pitch_is_free(const GrammarState *w, const TrackState *part, long pitch) {
    return (part->ends[pitch] <= w->now) & ((part->drums == 1) | w->pitches[pitch]);
}

static int any_pitch_is_free(const GrammarState *w, const TrackState *part) {
    for (long pitch = 0; pitch < PITCHES; pitch++)
        if (pitch_is_free(w, part, pitch)) return 1;
    return 0;
}

static int may_add_track(const GrammarState *w) { return w->melodic < TRACKS - 1 || !w->has_drums; }

static int any_event_allowed(const GrammarState *w) {
    if (w->tempo_changes || may_add_track(w)) return 1;
    for (long track = 0; track < w->parts; track++)
        if (any_pitch_is_free(w, w->part + track)) return 1;
    return 0;
}

/* Write the mask: 1 for each id of the vocabulary that may follow, otherwise 0. */
EXPORT void seqgen_grammar_mask(const Vocabulary *v, const GrammarState *w, uint8_t *mask) {
    const TrackState *part = w->track < 0 ? NULL : w->part + w->track;
    uint8_t open[PITCHES] = {0}; /* pitches that the current track may still play here */
    int playable = 0;
    if (part && part->drums >= 0)
        for (long pitch = 0; pitch < PITCHES; pitch++) {
            const int in_order = w->last < 0 || (v->rising ? pitch > w->last : pitch < w->last);
            open[pitch] = in_order && pitch_is_free(w, part, pitch);
            playable |= open[pitch];
        }
    const int loud = part && part->velocity >= 0, sounds = loud && part->duration >= 0;
    const int is_new = part && part->drums < 0;
    memset(mask, 0, v->size);
    for (long event_type = 0; event_type < EVENT_TYPES; event_type++) {
        if (!(v->after[w->previous] >> event_type & 1)) continue;
        uint8_t *may = mask + v->first[event_type];
        const long size = v->sizes[event_type];
        int64_t except = -1, all = 0;
        switch (event_type) {
        case BAR: all = 1; break;
        case METRE: all = 1, except = w->metre; break;
        case POSITION: {
            const long here = w->previous == BAR || w->previous == METRE ? -1 : w->now - w->bar;
            if (any_event_allowed(w))
                for (long value = here + 1; value < size && value < w->length; value++) may[value] = 1;
            break;
        }
        case TEMPO: all = w->tempo_changes, except = w->tempo; break;
        case TRACK:
            for (long track = w->group + 1; track < w->parts; track++)
                may[track] = track != w->track && any_pitch_is_free(w, w->part + track);
            if (w->parts < TRACKS) may[w->parts] = (uint8_t)may_add_track(w);
            break;
        case PROGRAM: all = is_new && w->melodic < TRACKS - 1 && w->any_pitch; break;
        case DRUMS: all = is_new && !w->has_drums; break;
        case VELOCITY: all = playable, except = playable ? part->velocity : -1; break;
        case LONGER: all = playable && loud && w->longer < v->most_longer; break;
        case DURATION:
            all = playable && loud;
            if (all) except = part->duration - 1 - w->longer * v->longest;
            break;
        case NOTE:
            if (sounds && part->drums == 0) memcpy(may, open, PITCHES);
            break;
        case DRUM:
            if (sounds && part->drums == 1) memcpy(may, open, PITCHES);
            break;
        case END: all = w->may_end; break;
        }
        if (all) memset(may, 1, size);
        if (all && except >= 0 && except < size) may[except] = 0;
    }
}

/* Push an event and write the new mask. */
EXPORT void seqgen_grammar_push(const Vocabulary *v, GrammarState *w, long token, uint8_t *mask) {
    long event_type = 0;
    while (event_type + 1 < EVENT_TYPES && token >= v->first[event_type + 1]) event_type++;
    const int64_t value = token - v->first[event_type];
    TrackState *part = w->track < 0 ? NULL : w->part + w->track;
    switch (event_type) {
    case BAR:
        w->now = w->bar = w->bar + w->length;
        w->length = v->bar_lengths[w->metre];
        break;
    case METRE: w->metre = value, w->length = v->bar_lengths[value]; break;
    case POSITION: w->now = w->bar + value, w->group = w->last = -1; break;
    case TEMPO: w->tempo = value; break;
    case TRACK:
        if (value == w->parts) {
            TrackState *made = w->part + w->parts++;
            memset(made->ends, 0, sizeof made->ends);
            made->drums = made->velocity = made->duration = -1;
        }
        w->track = value, w->last = -1;
        break;
    case PROGRAM: part->drums = 0, w->melodic++; break;
    case DRUMS: part->drums = w->has_drums = 1; break;
    case VELOCITY: part->velocity = value; break;
    case LONGER: w->longer++; break;
    case DURATION: part->duration = value + 1 + w->longer * v->longest; break;
    case NOTE:
    case DRUM: part->ends[value] = w->now + part->duration, w->group = w->track, w->last = value; break;
    }
    if (event_type != LONGER && event_type != DURATION) w->longer = 0;
    w->previous = event_type;
    seqgen_grammar_mask(v, w, mask);
}
