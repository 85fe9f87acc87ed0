------------------------------- MODULE Trace --------------------------------
(***************************************************************************)
(* Whether what the production classes did is a behaviour of Replication.  *)
(* TraceData has Traces, sequences of events that tests/specs/recorder.py  *)
(* writes while storms run; this module takes, for each event, the step of *)
(* Replication that it claims to be, and compares what the replica then    *)
(* had with what the specification says it has.  A trace of which an event *)
(* fits nothing ends in a deadlock: it is refused.                         *)
(*                                                                         *)
(* An event stands where its step was taken, and only if what it wrote was *)
(* not lost in a crash (a record that is lost is a step not taken).  So    *)
(* the order is that of the real run, and each event decides its step: the *)
(* search has one state an event.                                          *)
(***************************************************************************)
EXTENDS Replication, TraceData

VARIABLES t, i  \* which trace, and where in it

\* An event is <<kind, node, ballot, slot, x, seen>>; what slot and x are depends on the kind.  seen: the promise, the
\* ballot of the log, its length, and the ballot that proposed its last entry, as they are at the node afterwards.
E == Traces[t][i]
N == E[2]
B == E[3]
K == E[4]
X == E[5]

TraceInit == Start(FirstEntry, <<>>, Founders \cup Waiting) /\ t \in 1..Len(Traces) /\ i = 1

LastOf(s) == IF s = <<>> THEN 0 ELSE s[Len(s)].b
Seen == E[6] = <<promised'[N], logBallot'[N], Len(log'[N]), LastOf(log'[N])>>
Still == UNCHANGED vars

\* Some leader up to ballot b that has counted slot k; of those that know it, it does not matter which.
Knowing(b, k) == {a \in 1..b : Won(a) /\ count[a] >= k}

\* X: the number of the configuration that the message carried.
Promised == X >= Acts(N) /\ GivePromise(N, B) /\ Seen

\* X: who had promised; K: the length of the new leader's log, with its barrier.
Won_ == Win(N, B, X) /\ Len(blog'[B]) = K

\* The leader's chosen mark has come to K.  What followers told it that earlier leaders have counted is passed over.
Counted_ ==
    IF count[B] >= K THEN Still
    ELSE IF \E a \in 1..(B - 1) : count[a] >= K THEN HearUpTo(B, CHOOSE a \in 1..(B - 1) : count[a] >= K, K)
    ELSE count[B] = K - 1 /\ Count(B)

Learnt == LET A == Knowing(B, K) IN A # {} /\ Learn(N, Last(A), K) /\ Seen

\* A snapshot, or a mark for a log replica to begin at (X).  One that says nothing new leaves the log alone.
Restarted ==
    LET A == Knowing(MaxBallot, K) IN
    /\ A # {}
    /\ IF Agree(log[N], blog[Last(A)], K) THEN Still
       ELSE IF X THEN Rebase(N, Last(A), K) ELSE Snapshot(N, Last(A), K)
    /\ Seen

\* What came with a snapshot binds as all that a leader says does (the rows may be durable before that is).
Bound_ == (IF promised[N] >= B THEN Still ELSE GivePromise(N, B)) /\ Seen

\* The node acts in configuration X.
Numbered ==
    IF Acts(N) = X THEN Still
    ELSE \E b \in Ballot : \E k \in ConfigSlots(blog[b], 1, count[b]) : blog[b][k].c.no = X /\ LearnConfig(N, b, k)

\* The node has a new replica, by the invitation of B's leader under configuration X, which that knew to be chosen.
Created ==
    \E k \in ConfigSlots(blog[B], 1, count[B]) :
        blog[B][k].c.no = X /\ Won(B) /\ CreateIn(N, B, 0, blog[B][k].c) /\ Seen

\* The node drops its replica: configuration X does not name it, or the next one means a replica that is to be made anew.
\* That one is chosen, so nobody counts on this one; until it is made there is none that takes part.
Dropped ==
    \/ ~Live(N) /\ Still
    \/ Live(N) /\ \E b \in Ballot : \E k \in ConfigSlots(blog[b], 1, count[b]) :
        LET c == blog[b][k].c IN
        IF ~Names(c, N) THEN c.no = X /\ LearnConfig(N, b, k)
        ELSE c.s[N] = X + 1 /\ X >= Acts(N) /\ Damage(N)

\* The node reports slots up to K as chosen, of which X proposed the last: they are, and it durably has them.
Reported ==
    /\ \E b \in Knowing(MaxBallot, K) : blog[b][K].b = X /\ Agree(log[N], blog[b], K)
    /\ Still

Step ==
    CASE E[1] = "campaign" -> Campaign(N, B) /\ Seen
      [] E[1] = "promise"  -> Promised
      [] E[1] = "win"      -> Won_
      [] E[1] = "propose"  -> Propose(B) /\ Len(blog'[B]) = K
      [] E[1] = "configure" -> Reconfigure(B, X) /\ Len(blog'[B]) = K
      [] E[1] = "install"  -> Install(N, B, K) /\ Seen
      [] E[1] = "accept"   -> Accept(N, B, K) /\ Seen
      [] E[1] = "learn"    -> Learnt
      [] E[1] = "base"     -> Restarted
      [] E[1] = "bind"     -> Bound_
      [] E[1] = "count"    -> Counted_
      [] E[1] = "number"   -> Numbered
      [] E[1] = "report"   -> Reported
      [] E[1] = "crash"    -> IF ~Live(N) \/ known[N] = born[N] THEN Still ELSE Crash(N)
      [] E[1] = "create"   -> Created
      [] E[1] = "drop"     -> Dropped
      [] E[1] = "damage"   -> IF Live(N) THEN Damage(N) ELSE Still
      [] E[1] = "restart"  -> Still /\ Seen

TraceNext ==
    \/ i <= Len(Traces[t]) /\ Step /\ i' = i + 1 /\ UNCHANGED t
    \/ i > Len(Traces[t]) /\ UNCHANGED <<vars, t, i>>

TraceSpec == TraceInit /\ [][TraceNext]_<<vars, t, i>>

\* One state an event: nothing else tells them apart.
Position == <<t, i>>
=============================================================================
