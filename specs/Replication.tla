---------------------------- MODULE Replication ----------------------------
(***************************************************************************)
(* One replication group of Gramme: Multi-Paxos over whole log suffixes,   *)
(* with configurations in the log (docs/design/paxos.md, reconfiguration.md *)
(* and decisions 0003, 0090, 0091).  Leases are in Leases.tla, which adds  *)
(* guards and variables to these actions.                                  *)
(*                                                                         *)
(* Messages are not a variable.  What a message says is a fact that stays  *)
(* true and may be used late, repeatedly or never:                         *)
(*   - Prepare of b          : owner[b], phase[b]                          *)
(*   - Promise of n for b    : prom[b][n], n's state when it promised      *)
(*   - Accept, Install of b  : any prefix of blog[b], the log of b's leader *)
(*   - Accepted of n in b    : acc[b][n], the furthest that n ever said    *)
(*   - what is chosen        : blog[b][1..count[b]], from whomever         *)
(* A step that writes and answers is one step: the answer leaves when all  *)
(* that it speaks of is durable, and a crash before that is a crash before *)
(* the step with the message lost.  The leader is the exception, because   *)
(* its Accepts leave before its own log is durable: blog[b] is what it     *)
(* sends, log[owner[b]] what it has on disk, and it acknowledges to itself *)
(* by the same action as everybody else.                                   *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
    Node,       \* nodes that may host a replica
    Nobody,     \* not a node
    First,      \* the founding leader, one of Founders
    Founders,   \* the voters of configuration 0
    Waiting,    \* its learners (as if they had been added before the model begins)
    WaitingLogs,\* those of them that are log replicas
    Shapes,     \* [v, l, x, r]: voters, log replicas, learners, made anew: what a reconfiguration may lead to
    MaxBallot, MaxSlot, MaxConfig, MaxDamage,
    Barrier,    \* whether a new leader has a no-op chosen before it proposes (as built: TRUE; agreement holds without)
    Learning,   \* whether replicas are brought up by chosen entries (Learn)
    Snapshots,  \* whether they are brought up by snapshots
    Forgetting, \* whether a process that stops forgets what it knew to be chosen (Crash)
    Eager,      \* whether a leader counts at once what it could count (see Next)
    Planted     \* names of planted faults; {} is the protocol

VARIABLES
    promised,   \* [Node -> ballot]: on disk
    logBallot,  \* [Node -> ballot]: on disk
    log,        \* [Node -> Seq(entry)]: on disk, or in the engine (a snapshot is a prefix of it)
    base,       \* [Node -> slot]: a log replica has no entries up to there, and no rows either
    host,       \* [Node -> {"none", "live", "amnesiac"}]
    born,       \* [Node -> configuration that the replica was created under]
    known,      \* [Node -> the newest configuration it knows to be chosen]: may be forgotten by a crash
    owner,      \* [Ballot -> Node, or Nobody]
    phase,      \* [Ballot -> {"free", "campaign", "lead", "last", "over"}]; last: what it counted took its vote away
    prom,       \* [Ballot -> [Node -> promise, or NoPromise]] while b is campaigned for
    blog,       \* [Ballot -> Seq(entry)]: the leader's log of a ballot, with what it proposed
    adopted,    \* [Ballot -> length of the suffix adopted with phase 1]
    acc,        \* [Ballot -> [Node -> slot]]: Accepted by the present replica of the node
    formerAcc,  \* [Ballot -> [Node -> slot]]: Accepted by a former one
    count,      \* [Ballot -> slot]: what the leader of the ballot has counted as chosen; it acknowledges that far
    formerNo,   \* [Node -> the configuration number that the node's former replica acted in last]
    damages     \* replicas damaged so far

vars == <<promised, logBallot, log, base, host, born, known, owner, phase, prom, blog, adopted, acc, formerAcc,
          formerNo, count, damages>>
disk == <<promised, logBallot, log, base>>
identity == <<host, born, known, formerAcc, formerNo, damages>>
roles == <<owner, phase, prom, blog, adopted, count>>

Ballot == 1..MaxBallot
Plant(fault) == fault \in Planted

Max(a, b) == IF a > b THEN a ELSE b
Min(a, b) == IF a < b THEN a ELSE b
Last(K) == CHOOSE k \in K : \A j \in K : j <= k
Prefix(s, k) == SubSeq(s, 1, k)
Agree(s, t, k) == k <= Len(s) /\ k <= Len(t) /\ Prefix(s, k) = Prefix(t, k)

-----------------------------------------------------------------------------
(* Configurations: number, voters, log replicas (among voters and learners), learners, and since which configuration   *)
(* each replica is the one that is meant (paxos/configuration.py, Replica.since).                                      *)

Always == [n \in Node |-> 0]
Plain == [no |-> 0, v |-> {}, l |-> {}, x |-> {}, s |-> Always]
Founding == [no |-> 0, v |-> Founders, l |-> WaitingLogs, x |-> Waiting, s |-> Always]
Names(c, n) == n \in c.v \cup c.x
StorageVoter(c, n) == n \in c.v \ c.l

\* An entry: the ballot that proposed it, the ballot of the entry it was proposed behind, a configuration or Plain.
Entry(b, s, c) == [b |-> b, p |-> IF s = <<>> THEN 0 ELSE s[Len(s)].b, c |-> c]

ConfigSlots(s, from, to) == {k \in from..to : s[k].c.no > 0}
ConfigAt(s, k) == LET K == ConfigSlots(s, 1, k) IN IF K = {} THEN Founding ELSE s[Last(K)].c
Newest(s) == ConfigAt(s, Len(s))
SlotOf(s, no) == LET K == {k \in ConfigSlots(s, 1, Len(s)) : s[k].c.no = no} IN IF K = {} THEN 0 ELSE Last(K)

IsQuorum(c, Q) == 2 * Cardinality(Q \cap c.v) > Cardinality(c.v)

\* One voter at a time: learners come and go freely.
OneVoter(c, d) == Cardinality(c.v \ d.v) <= 1 /\ Cardinality(d.v \ c.v) <= 1 /\ d.v # {}

\* The number that a replica's messages carry.  A message of an older one is refused.
Acts(n) == known[n].no

Live(n) == host[n] = "live"
LeaderConfig(b) == ConfigAt(blog[b], count[b])

-----------------------------------------------------------------------------
NoPromise == [lb |-> 0, log |-> <<>>, base |-> 0, acts |-> 0, made |-> FALSE]
PromiseOf(n) == [lb |-> logBallot[n], log |-> log[n], base |-> base[n], acts |-> Acts(n), made |-> TRUE]
NoPromises == [n \in Node |-> NoPromise]
Zeros == [b \in Ballot |-> [n \in Node |-> 0]]

(* All founders are born with the promise of ballot 1, and `founded` with an empty log of it; First leads it without     *)
(* phase 1.  It has proposed `proposed`, of which the founders have `stored`.                                          *)
Start(proposed, stored, founded) ==
    /\ promised = [n \in Node |-> IF Names(Founding, n) THEN 1 ELSE 0]
    /\ logBallot = [n \in Node |-> IF n \in founded THEN 1 ELSE 0]
    /\ log = [n \in Node |-> IF n \in Founders THEN stored ELSE <<>>]
    /\ acc = [b \in Ballot |-> [n \in Node |-> IF b = 1 /\ n \in Founders THEN Len(stored) ELSE 0]]
    /\ count = [b \in Ballot |-> IF b = 1 THEN Len(stored) ELSE 0]
    /\ blog = [b \in Ballot |-> IF b = 1 THEN proposed ELSE <<>>]
    /\ base = [n \in Node |-> 0]
    /\ host = [n \in Node |-> IF Names(Founding, n) THEN "live" ELSE "none"]
    /\ born = [n \in Node |-> Founding]
    /\ known = [n \in Node |-> Founding]
    /\ owner = [b \in Ballot |-> IF b = 1 THEN First ELSE Nobody]
    /\ phase = [b \in Ballot |-> IF b = 1 THEN "lead" ELSE "free"]
    /\ prom = [b \in Ballot |-> NoPromises]
    /\ adopted = [b \in Ballot |-> 0]
    /\ formerAcc = Zeros
    /\ formerNo = [n \in Node |-> 0]
    /\ damages = 0

FirstEntry == <<Entry(1, <<>>, Plain)>>
Init == Start(IF Barrier THEN FirstEntry ELSE <<>>, <<>>, Founders)

(* A node has left the roles of these ballots: it promised a higher one, stopped, or stepped down. *)
Leave(B) ==
    /\ phase' = [b \in Ballot |-> IF b \in B /\ phase[b] # "free" THEN "over" ELSE phase[b]]
    /\ prom' = [b \in Ballot |-> IF b \in B THEN NoPromises ELSE prom[b]]
Roles(n) == {b \in Ballot : owner[b] = n /\ phase[b] \in {"campaign", "lead", "last"}}
RolesBelow(n, b) == {a \in Roles(n) : a < b}

-----------------------------------------------------------------------------
(* Phase 1. *)

Electable(n) == StorageVoter(known[n], n) \/ (Plant("log_replica_leads") /\ n \in known[n].v)

\* Campaign.prepare: the own promise is durable before anybody hears of the ballot.  The poll before it has no part in
\* safety: here every replica may campaign at any time.
Campaign(n, b) ==
    /\ Live(n) /\ Electable(n)
    /\ phase[b] = "free" /\ b > promised[n]
    /\ promised' = [promised EXCEPT ![n] = b]
    /\ owner' = [owner EXCEPT ![b] = n]
    /\ phase' = [a \in Ballot |-> IF a = b THEN "campaign" ELSE IF a \in Roles(n) THEN "over" ELSE phase[a]]
    /\ prom' = [a \in Ballot |-> IF a = b THEN [NoPromises EXCEPT ![n] = PromiseOf(n)]
                                 ELSE IF a \in Roles(n) THEN NoPromises ELSE prom[a]]
    /\ UNCHANGED <<logBallot, log, base, identity, blog, adopted, acc, count>>

\* Acceptor.on_prepare, and Acceptor.admit of a leader's message that stores nothing.
GivePromise(n, b) ==
    /\ Live(n) /\ owner[b] # Nobody /\ owner[b] # n
    /\ b > promised[n]
    /\ promised' = [promised EXCEPT ![n] = b]
    /\ phase' = [a \in Ballot |-> IF a \in RolesBelow(n, b) THEN "over" ELSE phase[a]]
    /\ prom' = [a \in Ballot |-> IF a = b /\ phase[b] = "campaign" THEN [prom[b] EXCEPT ![n] = PromiseOf(n)]
                                 ELSE IF a \in RolesBelow(n, b) THEN NoPromises ELSE prom[a]]
    /\ UNCHANGED <<logBallot, log, base, identity, owner, blog, adopted, acc, count>>

\* A Prepare of an older configuration is refused.
Promise(n, b) == (owner[b] # Nobody => Acts(owner[b]) >= Acts(n)) /\ GivePromise(n, b)

Better(p, q) == p.lb > q.lb \/ (p.lb = q.lb /\ Len(p.log) >= Len(q.log))

\* The configurations that a candidate needs quorums of: the one it acts in, and every later one in the log it adopts.
Governing(n, s) ==
    {known[n]} \cup (IF Plant("elect_by_known_only") THEN {}
                      ELSE {s[k].c : k \in {k \in ConfigSlots(s, 1, Len(s)) : s[k].c.no > Acts(n)}})

\* What a candidate adopts: the whole log of the best promise.
Adopt(n, best) ==
    LET own == log[n] IN
    IF Plant("adopt_per_slot") /\ Len(own) > Len(best.log)
    THEN best.log \o SubSeq(own, Len(best.log) + 1, Len(own))
    ELSE best.log

\* Campaign._has_promised: a quorum of c has, by the replicas that c means.
HavePromised(c, b, Q) ==
    IsQuorum(c, {m \in Q : prom[b][m].acts >= c.s[m]})

\* Campaign._adopt_best, Campaign.on_suffix and GroupReplica._win.  The log of the best promise is fetched; what a log
\* replica has let go of must be held here.
Win(n, b, Q) ==
    /\ Live(n) /\ owner[b] = n /\ phase[b] = "campaign" /\ promised[n] = b
    /\ \A m \in Q : prom[b][m].made
    /\ \E m \in Q :
        LET best == prom[b][m]
            suffix == Adopt(n, best)
        IN /\ \A q \in Q : Better(best, prom[b][q])
           /\ \A c \in Governing(n, suffix) : HavePromised(c, b, Q)
           /\ best.base = 0 \/ Agree(log[n], best.log, best.base)
           /\ blog' = [blog EXCEPT ![b] = IF Barrier THEN Append(suffix, Entry(b, suffix, Plain)) ELSE suffix]
           /\ adopted' = [adopted EXCEPT ![b] = Len(suffix)]
           /\ count' = [count EXCEPT ![b] = SlotOf(suffix, Acts(n))]
    /\ phase' = [phase EXCEPT ![b] = "lead"]
    /\ prom' = [prom EXCEPT ![b] = NoPromises]
    /\ UNCHANGED <<disk, identity, owner, acc>>

-----------------------------------------------------------------------------
(* Phase 2. *)

Leads(b) == phase[b] = "lead" /\ Live(owner[b]) /\ promised[owner[b]] = b
Counts(b) == phase[b] \in {"lead", "last"} /\ Live(owner[b]) /\ promised[owner[b]] = b
Serves(b) == Leads(b) /\ (Barrier => count[b] > adopted[b])

\* Leader.propose.
Propose(b) ==
    /\ Serves(b) /\ Len(blog[b]) < MaxSlot
    /\ blog' = [blog EXCEPT ![b] = Append(@, Entry(b, @, Plain))]
    /\ UNCHANGED <<disk, identity, owner, phase, prom, adopted, acc, count>>

Won(b) == phase[b] \in {"lead", "last", "over"} /\ (blog[b] # <<>> \/ phase[b] = "lead")

\* What Acceptor.admit asks: an unsuperseded ballot and a configuration that is not older.
Admits(n, b) == Live(n) /\ Won(b) /\ b >= promised[n] /\ LeaderConfig(b).no >= Acts(n)

Store(n, b, s) ==
    /\ log' = [log EXCEPT ![n] = s]
    /\ logBallot' = [logBallot EXCEPT ![n] = b]
    /\ promised' = [promised EXCEPT ![n] = b]
    /\ Leave(RolesBelow(n, b))

\* Acceptor.on_install, Acceptor.install: the log of another ballot is replaced as a whole, never by less than what the
\* leader adopted.
Install(n, b, k) ==
    /\ Admits(n, b) /\ logBallot[n] # b
    /\ IF Plant("install_half") THEN k <= Len(blog[b]) ELSE k \in adopted[b]..Len(blog[b])
    /\ base[n] <= k
    /\ Store(n, b, Prefix(blog[b], k))
    /\ acc' = [acc EXCEPT ![b][n] = Max(@, k)]
    /\ UNCHANGED <<base, identity, owner, blog, adopted, count>>

\* Acceptor.on_accept: only behind the last slot of a log of that ballot.
Accept(n, b, k) ==
    /\ Admits(n, b) /\ logBallot[n] = b
    /\ k \in Len(log[n])+1..Len(blog[b])
    /\ Agree(log[n], blog[b], Len(log[n]))
    /\ Store(n, b, Prefix(blog[b], k))
    /\ acc' = [acc EXCEPT ![b][n] = Max(@, k)]
    /\ UNCHANGED <<base, identity, owner, blog, adopted, count>>

\* Acceptor.answer_accepted without anything new: tells the whole length, also of what was learnt meanwhile.
Answer(n, b) ==
    /\ Admits(n, b) /\ logBallot[n] = b
    /\ acc[b][n] < Len(log[n])
    /\ acc' = [acc EXCEPT ![b][n] = Len(log[n])]
    /\ UNCHANGED <<disk, identity, roles>>

\* Planted: Accepted leaves with the step, and the power fails before the sync.
AnswerEarly(n, b) ==
    /\ Plant("acknowledge_early")
    /\ Admits(n, b) /\ logBallot[n] = b
    /\ Len(log[n]) < Len(blog[b]) /\ acc[b][n] <= Len(log[n])
    /\ acc' = [acc EXCEPT ![b][n] = Len(log[n]) + 1]
    /\ UNCHANGED <<disk, identity, roles>>

\* The furthest that the leader of b may have heard of the replica of n that c means.  Leader.counts: an Accepted counts
\* if the number it carries is at least that replica's `since` (decision 0091).
Told(b, n, c) ==
    Max(IF Acts(n) >= c.s[n] \/ born[n].no >= c.s[n] THEN acc[b][n] ELSE 0,
        IF formerNo[n] >= c.s[n] THEN formerAcc[b][n] ELSE 0)
Holders(b, k, c) == {n \in Node : Told(b, n, c) >= k}

Satisfied(c, b, k, former) ==
    LET H == Holders(b, k, c) IN
    IF Plant("removed_acknowledges") THEN 2 * Cardinality(H \cap (c.v \cup former)) > Cardinality(c.v)
    ELSE IsQuorum(c, H)

NextIsChosen(b) ==
    LET k == count[b] + 1
        d == blog[b][k].c
        c == IF Plant("two_reconfigurations") /\ d.no = 2 THEN Founding ELSE LeaderConfig(b)
        before == IF count[b] = 0 THEN Founding ELSE ConfigAt(blog[b], SlotOf(blog[b], c.no) - 1)
    IN IF d.no = 0 THEN Satisfied(c, b, k, before.v)
       ELSE /\ Plant("choose_by_new_only") \/ Satisfied(c, b, k, before.v)
            /\ Plant("choose_by_old_only") \/ Satisfied(d, b, k, {})

\* A leader that has counted up to k: a configuration takes force, and a leader that it gives no vote steps down.  What is
\* chosen already behind that configuration it counts on in the same step.
Advance(b, k) ==
    LET c == ConfigAt(blog[b], k)
        votes == StorageVoter(c, owner[b]) \/ Plant("log_replica_leads")
    IN
    /\ count' = [count EXCEPT ![b] = k]
    /\ known' = [known EXCEPT ![owner[b]] = IF c.no > @.no THEN c ELSE @]
    /\ phase' = [phase EXCEPT ![b] = IF votes THEN @ ELSE "last"]
    /\ UNCHANGED prom

\* Leader.count: slot k is chosen when a quorum of the configuration in force holds the log of this ballot up to k, and,
\* if k carries the next configuration, a quorum of that too.
Count(b) ==
    /\ Counts(b) /\ count[b] < Len(blog[b])
    /\ NextIsChosen(b)
    /\ Advance(b, count[b] + 1)
    /\ UNCHANGED <<disk, host, born, formerAcc, formerNo, damages, owner, blog, adopted, acc>>

\* Leader.begin, Leader.on_behind: what a follower that holds to this ballot knows as chosen was chosen in this ballot or
\* a lower one (it has promised the ballot of whoever told it), and stands in this log too.
HearUpTo(b, a, k) ==
    /\ Counts(b) /\ a < b
    /\ k \in count[b]+1..Min(count[a], Len(blog[b]))
    /\ Advance(b, k)
    /\ UNCHANGED <<disk, host, born, formerAcc, formerNo, damages, owner, blog, adopted, acc>>

Hear(b, a) == HearUpTo(b, a, Min(count[a], Len(blog[b])))

-----------------------------------------------------------------------------
(* Learning: chosen entries from whoever counted them (decision 0003), and snapshots. *)

Learn(n, b, k) ==
    /\ Live(n) /\ Won(b) /\ k \in 1..count[b]
    /\ ~Agree(log[n], blog[b], k)
    /\ log' = [log EXCEPT ![n] = Prefix(blog[b], k)]
    /\ promised' = [promised EXCEPT ![n] = Max(@, b)]
    /\ Leave(RolesBelow(n, b))
    /\ UNCHANGED <<logBallot, base, identity, owner, blog, adopted, acc, count>>

\* Acceptor.install_base: the rows up to k, engine-durable, from a storage replica that has applied them.  The promise
\* and the ballot of the log stay as they are.
Snapshot(n, b, k) ==
    /\ Live(n) /\ Won(b) /\ k \in 1..count[b]
    /\ ~Agree(log[n], blog[b], k)
    /\ n \notin known[n].l
    /\ log' = [log EXCEPT ![n] = Prefix(blog[b], k)]
    /\ promised' = [promised EXCEPT ![n] = IF Plant("snapshot_drops_promise") THEN 0 ELSE @]
    /\ UNCHANGED <<logBallot, base, identity, roles, acc>>

\* Acceptor.on_rebase: a log replica lets go of its log, and begins again behind what the leader durably has and every
\* storage voter that it hears of.
Rebase(n, b, k) ==
    /\ Live(n) /\ Won(b) /\ k \in 1..count[b] /\ Told(b, owner[b], LeaderConfig(b)) >= k
    /\ ~Agree(log[n], blog[b], k)
    /\ n \in known[n].l
    /\ log' = [log EXCEPT ![n] = Prefix(blog[b], k)]
    /\ base' = [base EXCEPT ![n] = k]
    /\ UNCHANGED <<promised, logBallot, identity, roles, acc>>

\* GroupReplica._on_newer_configuration, or a chosen mark that covers it.  Whoever led in an older one starts over; a
\* candidate that keeps its vote may go on, for the best log may be what it learns it from, and asks this one too; a node
\* that it does not name drops its replica.
LearnConfig(n, b, k) ==
    /\ Live(n) /\ Won(b) /\ k \in ConfigSlots(blog[b], 1, count[b])
    /\ LET c == blog[b][k].c IN
       /\ c.no > known[n].no
       /\ known' = [known EXCEPT ![n] = c]
       /\ IF Names(c, n) THEN UNCHANGED <<host, disk>>
          ELSE /\ host' = [host EXCEPT ![n] = "none"]
               /\ log' = [log EXCEPT ![n] = <<>>]
               /\ promised' = [promised EXCEPT ![n] = 0]
               /\ logBallot' = [logBallot EXCEPT ![n] = 0]
               /\ base' = [base EXCEPT ![n] = 0]
       \* A leader of the ballot that chose it goes on; what it counts by is Advance.
       /\ Leave({a \in Roles(n) : IF phase[a] = "lead" THEN ~Names(c, n) \/ Newest(blog[a]).no < c.no
                                  ELSE ~(StorageVoter(c, n) \/ Plant("log_replica_leads"))})
    /\ UNCHANGED <<born, formerAcc, formerNo, damages, owner, blog, adopted, acc, count>>

-----------------------------------------------------------------------------
(* Configurations. *)

Pending(b) == ConfigSlots(blog[b], count[b] + 1, Len(blog[b])) # {}

\* GroupReplica.reconfigure: one change at a time, one voter at a time, the leader keeps its vote.  That a new voter has
\* caught up is asked there for the group's availability; here it may have nothing.
Reconfigure(b, s) ==
    LET c == IF Plant("two_reconfigurations") THEN Founding ELSE Newest(blog[b])
        no == Newest(blog[b]).no + 1
        d == [no |-> no, v |-> s.v, l |-> s.l, x |-> s.x,
              s |-> [n \in Node |-> IF n \in s.v \cup s.x /\ (~Names(c, n) \/ n \in s.r) THEN no ELSE c.s[n]]]
    IN /\ Serves(b) /\ Len(blog[b]) < MaxSlot
       /\ ~Pending(b) \/ Plant("two_reconfigurations")
       /\ d.no <= MaxConfig
       /\ <<c.v, c.l, c.x>> # <<s.v, s.l, s.x>> \/ s.r # {}
       /\ OneVoter(c, d)
       /\ StorageVoter(d, owner[b])
       /\ \A n \in Node : Names(c, n) /\ Names(d, n) => (n \in c.l <=> n \in d.l)
       /\ d.v \ c.v \subseteq c.x \ s.r
       /\ blog' = [blog EXCEPT ![b] = Append(@, Entry(b, @, d))]
       /\ UNCHANGED <<disk, identity, owner, phase, prom, adopted, acc, count>>

\* joining_state: a node that has no replica, or an amnesiac one, hosts the group as a learner, with the inviting leader's
\* ballot as its promise.  If it had one before, the configuration must mean a newer one than could have spoken for it.  A
\* log replica begins behind a slot that every other voter but one holds.
CreateIn(n, b, k, c) ==
    /\ ~Live(n)
    /\ \/ Plant("heal_in_place") /\ Names(c, n)
       \/ n \in c.x /\ (Names(Founding, n) \/ born[n].no > 0 => c.s[n] > Acts(n))
    /\ IF n \in c.l
       THEN k <= count[b] /\ \E out \in c.v : \A m \in c.v \ {n, out} : Told(b, m, c) >= k
       ELSE k = 0
    /\ host' = [host EXCEPT ![n] = "live"]
    /\ born' = [born EXCEPT ![n] = c]
    /\ known' = [known EXCEPT ![n] = c]
    /\ promised' = [promised EXCEPT ![n] = b]
    /\ logBallot' = [logBallot EXCEPT ![n] = 0]
    /\ log' = [log EXCEPT ![n] = Prefix(blog[b], k)]
    /\ base' = [base EXCEPT ![n] = k]
    /\ formerAcc' = [a \in Ballot |-> [formerAcc[a] EXCEPT ![n] = acc[a][n]]]
    /\ acc' = [a \in Ballot |-> [acc[a] EXCEPT ![n] = 0]]
    /\ formerNo' = [formerNo EXCEPT ![n] = Acts(n)]
    /\ UNCHANGED <<roles, damages>>

Create(n, b, k) == Leads(b) /\ CreateIn(n, b, k, LeaderConfig(b))

-----------------------------------------------------------------------------
(* Faults. *)

\* The process stops: what is known to be chosen is forgotten, and roles are left.  (Where there is nothing to forget, a
\* leader or candidate that has stopped is one that does nothing any more.)
Crash(n) ==
    /\ Forgetting /\ Live(n) /\ known[n] # born[n]
    /\ Leave(Roles(n))
    /\ known' = [known EXCEPT ![n] = born[n]]
    /\ UNCHANGED <<disk, host, born, formerAcc, formerNo, damages, owner, blog, adopted, acc, count>>

\* Planted: a promise is kept in memory only.
ForgetPromise(n) ==
    /\ Plant("forget_promise") /\ Live(n)
    /\ promised[n] > logBallot[n]
    /\ promised' = [promised EXCEPT ![n] = logBallot[n]]
    /\ Leave(Roles(n))
    /\ UNCHANGED <<logBallot, log, base, identity, owner, blog, adopted, acc, count>>

\* Damage that may hide a promise or an accepted entry: the replica is inert from now on.
Damage(n) ==
    /\ Live(n) /\ damages < MaxDamage
    /\ damages' = damages + 1
    /\ Leave(Roles(n))
    /\ log' = [log EXCEPT ![n] = <<>>]
    /\ promised' = [promised EXCEPT ![n] = 0]
    /\ logBallot' = [logBallot EXCEPT ![n] = 0]
    /\ base' = [base EXCEPT ![n] = 0]
    /\ host' = [host EXCEPT ![n] = IF Plant("vote_after_amnesia") THEN "live" ELSE "amnesiac"]
    /\ UNCHANGED <<born, known, formerAcc, formerNo, owner, blog, adopted, acc, count>>

-----------------------------------------------------------------------------
(* What Next leaves out changes nothing:                                                                              *)
(* - Install is of what was adopted; Accepts of one slot each follow.                                                 *)
(* - A Prepare that arrives after its candidate has gone only makes a replica refuse more, as a lost message does.    *)
(* - Ballots are taken in order.  A lower one taken after a higher one could have been taken before it: its candidate  *)
(*   has heard nothing of the higher one.  (Not so with snapshots, which say nothing of ballots.)                     *)
(* With Eager, counting comes before anything else.  Without configurations that loses nothing: to count enables more,  *)
(* and the invariants are about what is counted.                                                                      *)

InOrder(b) == Snapshots \/ \A a \in Ballot : a < b => phase[a] # "free"

Act(n, b) ==
    \/ InOrder(b) /\ Campaign(n, b)
    \/ phase[b] = "campaign" /\ Promise(n, b)
    \/ /\ phase[b] = "campaign" /\ owner[b] = n
       /\ \E Q \in SUBSET {m \in Node : prom[b][m].made} : n \in Q /\ Win(n, b, Q)
    \/ IF Plant("install_half") THEN \E k \in 0..Len(blog[b]) : Install(n, b, k) ELSE Install(n, b, adopted[b])
    \/ Accept(n, b, Len(log[n]) + 1)
    \/ Answer(n, b)
    \/ AnswerEarly(n, b)
    \/ Learning /\ \E k \in 1..count[b] : Learn(n, b, k)
    \/ Snapshots /\ \E k \in 1..count[b] : Snapshot(n, b, k) \/ Rebase(n, b, k)
    \/ \E k \in 1..count[b] : LearnConfig(n, b, k)
    \/ \E k \in 0..count[b] : Create(n, b, k)

Countable == {b \in Ballot : Counts(b) /\ count[b] < Len(blog[b]) /\ NextIsChosen(b)}

Next ==
    IF Eager /\ Countable # {} THEN \E b \in Countable : Count(b)
    ELSE \/ \E n \in Node, b \in Ballot : Act(n, b)
         \/ \E b \in Ballot :
             \/ Propose(b)
             \/ Count(b)
             \/ \E a \in Ballot : Hear(b, a)
             \/ \E s \in Shapes : Reconfigure(b, s)
         \/ \E n \in Node : Crash(n) \/ ForgetPromise(n) \/ Damage(n)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What must hold. *)

Chosen(b) == Prefix(blog[b], count[b])

\* No two leaders ever report different entries in a slot.
Agreement == \A a, b \in Ballot : LET k == Min(count[a], count[b]) IN Prefix(blog[a], k) = Prefix(blog[b], k)

\* What a leader reported is in the log of every later one.
Completeness == \A a, b \in Ballot : a < b /\ Won(b) => Agree(blog[a], blog[b], count[a])

\* A chosen entry stands behind the one it was proposed behind.
PrimaryOrder ==
    \A b \in Ballot : \A k \in 1..count[b] : blog[b][k].p = IF k = 1 THEN 0 ELSE blog[b][k - 1].b

\* The longest log that any leader has counted as chosen.
Longest == CHOOSE b \in Ballot : \A a \in Ballot : count[a] <= count[b]

\* What is chosen stands in the present log of some member of every quorum that could elect somebody now: nothing that an
\* amnesiac, removed or former replica said was needed.
Durable ==
    LET b == Longest
        c == LeaderConfig(b)
        able == {n \in c.v : Live(n)}
    IN \A Q \in SUBSET able : IsQuorum(c, Q) => \E n \in Q : Agree(log[n], blog[b], count[b])

\* Log replicas and learners never lead.
OnlyStorageVotersLead == \A b \in Ballot : Leads(b) => StorageVoter(LeaderConfig(b), owner[b])

\* What a log replica no longer has, every live storage voter has: no candidate is stuck behind it for ever.
NothingOnlyInALogReplica ==
    \A n \in Node : Live(n) /\ base[n] > 0 =>
        Cardinality({m \in Node : Live(m) /\ base[m] = 0 /\ Agree(log[m], log[n], Min(base[n], Len(log[n])))}) > 0

TypeOK ==
    /\ \A n \in Node : promised[n] \in 0..MaxBallot /\ logBallot[n] \in 0..MaxBallot /\ Len(log[n]) <= MaxSlot + MaxBallot
    /\ \A b \in Ballot : count[b] <= Len(blog[b]) /\ adopted[b] <= Len(blog[b])
    /\ \A b \in Ballot : \A n \in Node : acc[b][n] <= MaxSlot + MaxBallot
=============================================================================
