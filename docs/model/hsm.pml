/* SPDX-License-Identifier: Apache-2.0
 *
 * hsm.pml - the keystore's pool of sessions, its queue, epochs, reconnecting, workers that are
 * left behind, and the fork gate, as a model for spin. README.md says how to read it. An inline
 * has the name of the function that it stands for.
 *
 * atomic { ... } is one of: what happens under token->lock, under job->lock, one atomic variable,
 * or a C_ function's return. token->connect_lock and module->init_lock are held across calls into the
 * module, so they are variables here. `ghost` marks what only the model knows.
 */

#define N     3 /* who uses the pool: user 0 is a worker with a deadline, 1 and 2 are callers */
#define LIMIT 2 /* sessions */
#ifndef TROUBLES
#define TROUBLES 2 /* how often the token misbehaves */
#endif
#ifndef KINDS
#define KINDS 127 /* and how: the sum of those below */
#endif
#define A_DIRTY  1
#define A_LOST   2
#define A_FULL   4
#define A_LOGIN  8
#define A_STALE  16
#define A_DEVICE 32
#define A_START  64 /* C_Initialize fails */
#ifndef REINITS
#define REINITS 1 /* how often another token of the module has it initialised anew */
#endif
#ifndef FORKS
#define FORKS 1
#endif

mtype = {
    NONE, DIRTY, SESSION_LOST, SESSIONS_FULL, LOGIN_LOST, STALE_HANDLE, DEVICE_LOST, /* ks_recovery */
    IDLE, NEW, DOWN, LATE,                                                          /* reserve() */
    KEEP, CLOSE, GONE                                                               /* fates */
};

/* --- the module: module/module.c ------------------------------------------------------------------ */

byte generation;      /* counts forks */
byte init_count = 1;  /* counts initialisations: handles from before the last one are dead */
byte initialized = 1; /* generation + 1 in which it was initialised; 0: it is not */
byte in_flight;
bool gate_paused, forking, starting, stuck_module;
byte init_lock; /* 0: free, else who has it, + 1 */

byte process;        /* ghost: 1: we follow the child */
byte initialized_by; /* ghost: whose C_Initialize it was */
byte inside;      /* ghost: threads that are in the module */
byte reinits;     /* ghost: threads that initialise it anew */
byte alive;       /* ghost: sessions that are open in this initialisation */
bool device_gone; /* ghost: until the module is initialised anew it knows no device */
byte troubles = TROUBLES;
#define MAY(kind) (troubles > 0 && (KINDS & kind) != 0)

/* ghost: what a handle is worth: the process and the initialisation in which the module gave it */
#define TAG           (process * 16 + init_count)
#define PROCESS_OF(t) (t / 16)
#define INIT_OF(t)    (t % 16)

/* --- the token: struct ks_token --------------------------------------------------------------- */

byte connect_lock;
byte epoch = 1, age = 1, epochs = 1; /* 0: down; the last is ks_epoch_new()'s */
byte tok_init = 1, tok_gen;          /* token->init_count, token->generation */
byte idle_count = 1, open_count = 1, limit = LIMIT, closing;
byte idle[LIMIT];        /* tags; a stack */
byte waiters, queue[N];  /* who waits for a session, in turn */
bool called[N];          /* the condition variable of each */
bool abandoned;          /* user 0's job: its caller has left */
byte stuck;              /* calls that were left behind */
byte key_epoch, key_tag; /* one key: its handle and the epoch of that */

byte held[N];            /* session->age of what each one has taken; 0: nothing */
byte reconnects; /* ghost: threads that bring the token up */
bool begun;      /* ghost: users 1 and 2 are alike, so it is enough that 1 begins first */
byte users;      /* ghost: those that have not finished */
bool gone[N + 1]; /* ghost: threads that are at their end */
bool hung;       /* ghost: user 0 is in the module and never comes back */

#define UP   (epoch != 0 && tok_gen == generation && tok_init == init_count)
#define NEW_AGE(a) age = a; closing = 0 /* sessions that are being closed are of the old one */
#define ROOM (idle_count > 0 || open_count < limit)

/* --- what has to be true ---------------------------------------------------------------------- */

#define IN_USE(i)    (held[i] != 0 && held[i] == age)
#define IN_USE_ALL   (IN_USE(0) + IN_USE(1) + IN_USE(2))
#define COUNTED      assert(tok_gen != generation || open_count == idle_count + IN_USE_ALL)
#define ONE_CONNECTS assert(reconnects == 1)
#define ONE_REINIT   assert(reinits == 1)
#define ALONE        assert(inside == 1)
#define OWN_MODULE   assert(initialized_by == process || initialized == 0)
#define OWN_SESSION  assert(PROCESS_OF(s_tag) == process)
#define OWN_KEY      assert(PROCESS_OF(k_tag) == process)
#define NEW_SESSION  assert(INIT_OF(s_tag) == init_count)
#define NEW_KEY      assert(INIT_OF(k_tag) == init_count)
#define IN_TURN      assert(first)
#define FORK_ALONE   assert(inside == 0 || fork_is_late)
#define ALL_CALLED   assert(waiters == 0)
#define NONE_IN_USE  assert(IN_USE_ALL == 0)
#define NONE_LEAKED  assert(initialized == 0 || \
                            alive == (tok_gen == generation && tok_init == init_count -> idle_count : 0))
#define NONE_STUCK   assert(stuck == 0)

/* What is not looked at any more would only make more states. */
#define FORGET s_tag = 0; k_tag = 0; s_init = 0; place = 0; late = 0; first = 0; old = 0; last = 0; \
               fate = 0; class = 0

/* --- the queue: token/session.c ------------------------------------------------------------------ */

inline ks_session_call_next()
{
    if
    :: waiters > 0 && (ROOM || !UP) -> called[queue[0]] = true
    :: else
    fi
}

inline ks_session_call_all()
{
    if
    :: waiters > 0 -> called[queue[0]] = true
    :: else
    fi;
    if
    :: waiters > 1 -> called[queue[1]] = true
    :: else
    fi;
    if
    :: waiters > 2 -> called[queue[2]] = true
    :: else
    fi
}

inline join_queue()
{
    queue[waiters] = me;
    waiters++;
    called[me] = false
}

inline leave_queue()
{
    if
    :: queue[0] == me -> queue[0] = queue[1]; queue[1] = queue[2]
    :: queue[0] != me && queue[1] == me -> queue[1] = queue[2]
    :: else
    fi;
    queue[2] = 0;
    waiters--;
    called[me] = false
}

/* --- the gate: module/module.c -------------------------------------------------------------------- */

inline ks_gate_leave()
{
    inside--;
    in_flight--
}

inline go_inside(want)
{
    inside++;
    ok = true;
#ifndef BREAK_INIT_COMPARE
    if
    :: want != init_count -> ok = false; ks_gate_leave()
    :: else
    fi
#endif
}

/* `want`: the initialisation that the caller's handles are of. Looked at inside, where it cannot
 * change any more. */
inline ks_gate_enter(want)
{
    do
#ifdef WHOLE_GATE
    :: atomic { !forking && !gate_paused -> in_flight++; go_inside(want); break }
#elif !defined(BREAK_GATE_ORDER)
    :: in_flight++;
       if
       :: atomic { !forking && !gate_paused -> go_inside(want); break }
       :: atomic { forking || gate_paused -> in_flight-- };
          !forking && (!gate_paused || init_lock == 0)
       fi
#else
    :: !forking && !gate_paused; /* looked first, and counted then */
       atomic { in_flight++; go_inside(want); break }
#endif
    od
}

/* The same for calls that are over at once: opening and closing a session, logging in. */
inline gate_enter_briefly(want)
{
    !forking && !gate_paused;
    in_flight++;
    go_inside(want)
}

inline module_enter_alone()
{
    do
#ifdef WHOLE_GATE
    :: atomic { !forking -> in_flight++; inside++; starting = true; break }
#else
    :: in_flight++;
       if
       :: atomic { !forking -> inside++; starting = true; break }
       :: atomic { forking -> in_flight-- };
          !forking
       fi
#endif
    od
}

/* With init_lock. */
inline module_initialize()
{
    if
    :: stuck_module -> ok = false
    :: else ->
       module_enter_alone();
       atomic {
           ALONE;
           starting = false;
           ks_gate_leave();
           if
           :: init_count++; initialized = generation + 1; initialized_by = process; alive = 0; device_gone = false; ok = true
           :: MAY(A_START) -> troubles--; ok = false /* C_Initialize fails */
           fi
       }
    fi
}

inline ks_module_ready()
{
    if
    :: atomic { initialized == generation + 1 -> ok = true }
    :: atomic { initialized != generation + 1 && init_lock == 0 -> init_lock = me + 1 };
       module_initialize();
       init_lock = 0
    fi
}

/* finalize_and_initialize() and module_finalize() are in it. */
inline ks_module_reinit(since)
{
    if
    :: atomic { init_lock == 0 && init_count != since -> ok = true } /* another thread did it */
    :: atomic { init_lock == 0 && init_count == since ->
           init_lock = me + 1; reinits++; ONE_REINIT; gate_paused = true };
       if
#ifndef BREAK_DRAIN
       :: in_flight == 0 || initialized != generation + 1
#else
       :: true
#endif
          -> if
          :: initialized == generation + 1 ->
             module_enter_alone();
             atomic { ALONE; starting = false; ks_gate_leave(); initialized = 0; alive = 0 }
          :: else
          fi;
          module_initialize()
       :: atomic { in_flight > 0 -> ok = false } /* they do not come back in time */
       fi;
       atomic { reinits--; gate_paused = false; init_lock = 0 }
    fi
}

/* --- sessions: token/session.c ------------------------------------------------------------------- */

/* C_CloseSession of a session with that tag. */
inline ks_session_close(want, s_tag)
{
    atomic {
        gate_enter_briefly(want);
        if
        :: ok ->
           OWN_MODULE; OWN_SESSION; NEW_SESSION;
           alive = (initialized != 0 -> alive - 1 : 0);
           ks_gate_leave()
        :: else
        fi
    }
}

inline ks_session_close_idle()
{
    do
    :: atomic {
           if
           :: tok_gen != generation || tok_init != init_count ->
              open_count = open_count - (open_count < idle_count -> open_count : idle_count);
              do
              :: idle_count > 0 -> idle_count--; idle[idle_count] = 0
              :: else -> break
              od
           :: else
           fi;
           COUNTED;
           if
           :: idle_count == 0 -> break
           :: else ->
              idle_count--;
              other = idle[idle_count];
              idle[idle_count] = 0;
              open_count = (open_count > 0 -> open_count - 1 : 0);
              COUNTED;
              from = tok_init
           fi
       };
       ks_session_close(from, other);
       other = 0;
       from = 0
    od
}

inline closes_last(last)
{
    closing++;
    last = closing >= open_count
}

inline none_left()
{
    epoch = 0;
    NEW_AGE(0);
    open_count = 0
}

/* The end of reserve(), with token->lock: the place, and the key's handle if it is of this
 * epoch. */
inline take_place()
{
    if
    :: !UP -> place = DOWN
    :: UP && late -> place = LATE
    :: UP && !late && idle_count > 0 ->
       IN_TURN;
       idle_count--;
       s_tag = idle[idle_count];
       idle[idle_count] = 0;
       held[me] = age;
       place = IDLE
    :: else ->
       IN_TURN;
       open_count++;
       held[me] = age;
       place = NEW
    fi;
    if
    :: place == IDLE || place == NEW ->
       s_epoch = epoch;
       s_init = tok_init;
#ifndef BREAK_EPOCH_COMPARE
       k_tag = (key_epoch == epoch -> key_tag : 0)
#else
       k_tag = key_tag
#endif
    :: else
    fi;
    first = false;
    late = false;
    COUNTED
}

/* With wait_in_turn(). Only user 0 has a deadline, which may pass at any moment: the others have
 * to be woken. */
inline reserve()
{
    late = false;
    if
#ifndef BREAK_TURN
    :: atomic { !UP || (waiters == 0 && ROOM) ->
#else
    :: atomic { !UP || ROOM ->
#endif
           first = waiters == 0;
           take_place(); ks_session_call_next() }
    :: atomic { UP && (waiters > 0 || !ROOM) -> join_queue() };
       do
       :: atomic { called[me] ->
              called[me] = false;
              if
              :: !UP || (queue[0] == me && ROOM) ->
                 first = queue[0] == me;
                 leave_queue(); take_place(); ks_session_call_next(); break
              :: else
              fi
          }
       :: atomic { me == 0 || (hung && limit == 1) ->
              first = queue[0] == me;
              late = !(first && ROOM);
#ifndef BREAK_LATE_STAYS
              leave_queue();
#endif
              take_place(); ks_session_call_next(); break
          }
       od
    fi
}

inline ks_token_mark_lost(its)
{
    atomic {
        if
        :: epoch == its ->
           epoch = 0;
           NEW_AGE(0);
           open_count = idle_count;
           ks_session_call_all()
        :: else
        fi;
        COUNTED
    }
}

/* The reserved session is opened; ok says whether. With open_failed(). */
inline open_session()
{
    atomic {
        gate_enter_briefly(s_init);
        if
        :: !ok -> class = SESSION_LOST
        :: else ->
           OWN_MODULE;
           ks_gate_leave();
           class = NONE;
           if
           :: device_gone || initialized == 0 -> class = DEVICE_LOST
           :: !device_gone && initialized != 0 -> alive++; s_tag = TAG
           :: !device_gone && initialized != 0 && troubles > 0 ->
              if
              :: MAY(A_LOST) -> class = SESSION_LOST
              :: MAY(A_FULL) -> class = SESSIONS_FULL
              :: MAY(A_DEVICE) -> class = DEVICE_LOST; device_gone = true
              fi;
              troubles--
           fi
        fi
    };
    if
    :: class == NONE -> ok = true
    :: else ->
       atomic {
           ok = false;
           if
           :: IN_USE(me) ->
              open_count--;
              held[me] = 0;
              if
              :: open_count == 0 -> none_left()
              :: open_count > 0 && class == SESSIONS_FULL -> limit = open_count
              :: else
              fi
           :: else -> held[me] = 0
           fi;
           COUNTED;
           ks_session_call_next()
       };
       if
       :: class == SESSIONS_FULL
       :: else -> ks_token_mark_lost(s_epoch)
       fi
    fi
}

inline ks_session_give()
{
    atomic {
        old = !IN_USE(me);
        if
        :: !old && fate == KEEP ->
           idle[idle_count] = s_tag;
           idle_count++;
           held[me] = 0;
#ifndef BREAK_WAKE
           ks_session_call_next();
#endif
           COUNTED;
           FORGET
        :: else ->
           if
           :: old
           :: !old ->
              closes_last(last);
              if
              :: last -> none_left()
              :: else
              fi
           fi;
           fate = (fate == GONE || s_init != init_count -> GONE : CLOSE)
        fi
    };
    if
    :: s_tag == 0 /* it was kept */
    :: else ->
       if
       :: fate != GONE -> ks_session_close(s_init, s_tag)
       :: else
       fi;
       atomic {
           if
           :: !old && IN_USE(me) && open_count > 0 ->
#ifndef BREAK_COUNT
              open_count--;
#endif
              closing = (closing > 0 -> closing - 1 : 0)
#ifdef BREAK_COUNT_OLD
           :: old && open_count > 0 -> open_count--
#endif
           :: else
           fi;
           held[me] = 0;
           COUNTED;
           ks_session_call_next();
           FORGET
       }
    fi
}

/* --- up and down: token/connect.c --------------------------------------------------------------------- */

/* The slot, the first session and the login are one passage of the gate here. */
inline connect_once()
{
    ks_module_ready();
    if
    :: ok ->
       from = init_count;
       atomic {
           gate_enter_briefly(from);
           if
           :: ok ->
              OWN_MODULE;
              ks_gate_leave();
              if
              :: device_gone || initialized == 0 -> ok = false
              :: else -> alive++; other = TAG
              fi
           :: else
           fi
       };
       if
       :: ok ->
          atomic {
              idle[0] = other;
              idle[1] = 0;
              idle_count = 1;
              open_count = 1;
              limit = LIMIT;
              tok_gen = generation;
              tok_init = from;
              epochs++;
              epoch = epochs;
              NEW_AGE(epochs);
              COUNTED;
              ks_session_call_next()
          }
       :: else
       fi;
       other = 0;
       from = 0
    :: else
    fi
}

inline reconnect()
{
    ks_session_close_idle();
    connect_once();
    if
    :: ok
    :: else ->
       seen = init_count;
       ks_module_reinit(seen);
       seen = 0;
       if
       :: ok -> connect_once()
       :: else
       fi
    fi
}

#ifndef BREAK_UP_LOCK
#define UP_FREE (connect_lock == 0)
#else
#define UP_FREE true
#endif

/* With ks_token_connect_lock(), where the deadline may pass. */
inline ks_token_reconnect()
{
    if
    :: atomic { UP_FREE && UP -> ok = true }
    :: atomic { UP_FREE && !UP -> connect_lock = me + 1; reconnects++; ONE_CONNECTS };
       reconnect();
       atomic { reconnects--; connect_lock = 0 }
    :: atomic { me == 0 -> ok = false }
    fi
}

inline ks_token_relogin()
{
    if
    :: atomic { UP_FREE && (epoch != s_epoch || tok_gen != generation) -> ok = true }
    :: atomic { UP_FREE && epoch == s_epoch && tok_gen == generation ->
           connect_lock = me + 1; reconnects++; ONE_CONNECTS };
       atomic {
           gate_enter_briefly(s_init);
           if
           :: ok -> OWN_MODULE; OWN_SESSION; NEW_SESSION; ks_gate_leave(); ok = !device_gone
           :: else
           fi
       };
       if
       :: ok ->
          ks_session_close_idle();
          atomic {
              epochs++;
              epoch = epochs;
              NEW_AGE(epochs);
              s_epoch = epochs;
              held[me] = epochs;
              open_count = 1 + idle_count;
              COUNTED;
              ks_session_call_next()
          }
       :: else
       fi;
       atomic { reconnects--; connect_lock = 0 }
    :: atomic { me == 0 -> ok = false }
    fi
}

/* --- an operation: op/try.c, token/key.c ---------------------------------------------------------- */

/* take(): ok says whether there is a session. */
inline ks_session_take()
{
    do
    :: reserve();
       if
       :: place == DOWN ->
          ks_token_reconnect();
          if
          :: ok
          :: else -> break
          fi
       :: place == LATE -> ok = false; break
       :: place == IDLE -> ok = true; break
       :: place == NEW ->
          open_session();
          if
          :: ok -> break
          :: !ok && me != 1 /* again, where that may help */
          :: !ok && me == 1 -> break
          fi
       fi
    od
}

/* The C_ functions of an operation, and ks_key_locate() before them if there is no handle. What
 * comes back is one answer. */
inline call_module()
{
    if /* run_on_worker(): the time is over, the caller leaves, and the worker stays behind */
    :: atomic { me == 0 && mine == 0 && !abandoned -> abandoned = true; stuck++ }
    :: true
    fi;
    if
    :: atomic { me == 0 && mine == 0 && abandoned -> hung = true };
end_hung: /* for ever */
       false
    :: atomic {
           OWN_MODULE;
           OWN_SESSION;
           NEW_SESSION;
           place = 0;
           if
           :: k_tag == 0 -> k_tag = TAG; key_tag = TAG; key_epoch = s_epoch
           :: else
           fi;
           OWN_KEY;
           NEW_KEY;
           k_tag = 0;
           class = NONE;
           if
           :: device_gone || initialized == 0 -> class = DEVICE_LOST
           :: !device_gone && initialized != 0
           :: !device_gone && initialized != 0 && !IN_USE(me) -> class = SESSION_LOST; alive--
           :: !device_gone && initialized != 0 && troubles > 0 ->
              if
              :: MAY(A_DIRTY) -> class = DIRTY
              :: MAY(A_LOST) -> class = SESSION_LOST; alive--
              :: MAY(A_LOGIN) -> class = LOGIN_LOST
              :: MAY(A_STALE) -> class = STALE_HANDLE
              :: MAY(A_DEVICE) -> class = DEVICE_LOST; device_gone = true
              fi;
              troubles--
           fi;
           ks_gate_leave()
       }
    fi
}

inline attempt()
{
    ks_session_take();
    if
    :: ok ->
       ks_gate_enter(s_init);
       if
       :: ok -> call_module()
       :: else -> class = SESSION_LOST /* as if the module had said it */
       fi;
       again = class;
       fate = KEEP;
       ok = false;
       if
       :: class == LOGIN_LOST -> ks_token_relogin()
       :: class == STALE_HANDLE ->
          atomic { key_epoch = (key_epoch == s_epoch -> 0 : key_epoch) }
       :: class == DIRTY || class == DEVICE_LOST -> fate = CLOSE
       :: class == SESSION_LOST -> fate = GONE
       :: class == NONE
       fi;
       class = 0;
       ks_session_give();
       if
       :: again == SESSION_LOST || again == DEVICE_LOST -> ks_token_mark_lost(s_epoch)
       :: else
       fi
    :: else -> again = NONE; FORGET
    fi;
    s_epoch = 0;
    ok = false
}

/* In a child the parent's threads, whose numbers for spin are 1 to 4, are taken away one after the
 * other: that makes fewer states. */
#if FORKS > 0
#define END_IN_TURN provided (process == 0 || _pid > 4 || ((_pid == 1 || gone[0]) && \
                              (_pid < 3 || gone[1]) && (_pid < 4 || gone[2])))
#else
#define END_IN_TURN
#endif

/* One operation of a thread of process `mine`. */
proctype user(byte me; byte mine) END_IN_TURN
{
    byte s_tag, k_tag, s_epoch, s_init, other, from, seen;
    mtype place, class, fate, again;
    bool ok, late, first, old, last;

    {
        atomic { (mine == 0 && (me != 2 || begun)) || (mine == 1 && gone[0] && gone[1] && gone[2]
                  && (REINITS == 0 || gone[N])) -> begun = begun || me == 1 };
        do
        :: attempt();
           if
           :: again == NONE -> break
           :: again != NONE && me != 1 /* ks_op_try(): once more */
           :: again != NONE && me == 1 -> break /* the budget is used up */
           fi
        od;
        atomic { /* run_op() */
            if
            :: abandoned && me == 0 ->
               abandoned = false;
#ifndef BREAK_STUCK
               stuck--
#endif
            :: else
            fi;
            users--;
            if
            :: users == 0 -> ALL_CALLED; NONE_IN_USE; NONE_LEAKED; NONE_STUCK
            :: else
            fi
        }
    }
#if FORKS > 0
    unless {
        process != mine /* a child: this thread stayed in the parent */
    }
#endif
    ;
    atomic { gone[me] = true; s_tag = 0; k_tag = 0; s_epoch = 0; s_init = 0; other = 0; from = 0; seen = 0;
             place = 0; class = 0; fate = 0; again = 0; ok = 0; late = 0; first = 0; old = 0;
             last = 0 }
}

/* --- another token of the module -------------------------------------------------------------- */

proctype neighbour() END_IN_TURN
{
    byte me = N, seen, other, from;
    bool ok;

    {
        seen = init_count;
        ks_module_reinit(seen)
    }
#if FORKS > 0
    unless {
        process != 0
    }
#endif
    ;
    atomic { gone[N] = true; seen = 0; ok = 0 }
}

/* --- fork: module/module.c ------------------------------------------------------------------------ */

/* Parent and child have nothing in common afterwards, so it is enough to follow either one. */
proctype forker()
{
    bool fork_is_late;

    forking = true;
    if
#ifndef BREAK_FORK_WAIT
    :: in_flight == 0
#else
    :: true
#endif
    :: in_flight > 0 -> fork_is_late = true
    fi;
    atomic {
        FORK_ALONE;
        forking = false;
        if
        :: skip /* the parent */
        :: /* atfork_child(), ks_tokens_forked() */
           process = 1;
#ifndef BREAK_GENERATION
           generation++;
#endif
           stuck_module = starting;
           starting = false;
           in_flight = 0;
           gate_paused = false;
           init_lock = 0;
           connect_lock = 0;
           waiters = 0;
           queue[0] = 0; queue[1] = 0; queue[2] = 0;
           called[0] = false; called[1] = false; called[2] = false;
           stuck = 0;
           /* these threads are the parent's */
           held[0] = 0; held[1] = 0; held[2] = 0;
           inside = 0; reinits = 0; reconnects = 0; alive = 0;
           abandoned = false; hung = false;
           users = 1;
           run user(0, 1)
        fi
    };
    fork_is_late = false
}

init {
    atomic {
        idle[0] = TAG;
        alive = 1;
        users = N;
        run user(0, 0);
        run user(1, 0);
        run user(2, 0);
        if
        :: REINITS > 0 -> run neighbour()
        :: else
        fi;
        if
        :: FORKS > 0 -> run forker()
        :: else
        fi
    }
}
