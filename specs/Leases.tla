------------------------------- MODULE Leases -------------------------------
(***************************************************************************)
(* Leases from node to node (docs/decisions/0004-lease-eras.md) around the *)
(* protocol of Replication: who may promise, and who may answer strong     *)
(* reads.                                                                  *)
(*                                                                         *)
(* Time is not a number here.  A grant runs out at the holder, and it runs *)
(* out at the granter, at any moment, but never first at the granter.  That *)
(* order is all that the protocol takes from clocks; decision 0092 argues   *)
(* that it follows from counting from the sending of the renewal, less the *)
(* drift bound.                                                            *)
(***************************************************************************)
EXTENDS Replication

CONSTANTS MaxEra, MaxRestarts

VARIABLES
    given,      \* [Node F -> [Node L -> era]]: F's unexpired grant to L; 0: none
    fresh,      \* [Node F -> [Node L -> BOOLEAN]]: it went to the process of L that runs now
    sent,       \* [Node F -> [Node L -> era]]: a LeaseGranted that L may still take
    held,       \* [Node L -> [Node F -> era]]: what L may rely on
    eras,       \* [Node F -> [Node L -> number of eras drawn]]
    stamped,    \* [Node F -> era that the replica on F last wrote to the holder of its promise]
    stamps,     \* [Ballot b -> [Node F -> eras that b's leader may have read in answers of F]]
    quiet,      \* [Node -> BOOLEAN]: restarted less than one grant ago
    released,   \* [Ballot -> BOOLEAN]: its holder has given the group up
    restarts

lvars == <<given, fresh, sent, held, eras, stamped, stamps, quiet, released, restarts>>
allvars == <<vars, lvars>>

\* A group that has begun: First has had the first slot chosen, and both followers answered in the era of their grants.
LInit ==
    /\ Start(FirstEntry, FirstEntry, Founders)
    /\ given = [n \in Node |-> [m \in Node |-> IF m = First /\ n # First THEN 1 ELSE 0]]
    /\ eras = given
    /\ held = [n \in Node |-> [m \in Node |-> IF n = First /\ m # First THEN 1 ELSE 0]]
    /\ sent = [n \in Node |-> [m \in Node |-> 0]]
    /\ fresh = [n \in Node |-> [m \in Node |-> TRUE]]
    /\ stamped = [n \in Node |-> IF n = First THEN 0 ELSE 1]
    /\ stamps = [b \in Ballot |-> [n \in Node |-> IF b = 1 /\ n # First THEN {1} ELSE {}]]
    /\ quiet = [n \in Node |-> FALSE]
    /\ released = [b \in Ballot |-> FALSE]
    /\ restarts = 0

-----------------------------------------------------------------------------
\* Acceptor.bound_ns: whether the replica on f must refuse candidate's higher ballots.
Bound(f, candidate) ==
    LET b == promised[f] IN
    IF b = 0 \/ released[b] \/ owner[b] = candidate \/ Plant("skip_the_lease") THEN FALSE
    ELSE quiet[f] \/ (stamped[f] # 0 /\ stamped[f] = given[f][owner[b]])

\* Acceptor._raise_promise forgets the era: nothing was written to the new holder yet.
Protocol ==
    /\ stamped' = [n \in Node |-> IF promised'[n] # promised[n] THEN 0 ELSE stamped[n]]
    /\ UNCHANGED <<given, fresh, sent, held, eras, stamps, quiet, released, restarts>>

\* Only campaigns and promises ask for leases.  A higher ballot that comes with a leader's Accept or Install has passed
\* phase 1.  An Install carries the barrier along, as Leader.begin sends it.
LAct(n, b) ==
    \/ ~Bound(n, n) /\ InOrder(b) /\ Campaign(n, b)
    \/ phase[b] = "campaign" /\ ~Bound(n, owner[b]) /\ Promise(n, b)
    \/ /\ phase[b] = "campaign" /\ owner[b] = n
       /\ \E Q \in SUBSET {m \in Node : prom[b][m].made} : n \in Q /\ Win(n, b, Q)
    \/ Install(n, b, Len(blog[b]))
    \/ Accept(n, b, Len(log[n]) + 1)
    \/ \E k \in 1..count[b] : LearnConfig(n, b, k)

Step ==
    IF Eager /\ Countable # {} THEN \E b \in Countable : Count(b)
    ELSE \/ \E n \in Node, b \in Ballot : LAct(n, b)
         \/ \E b \in Ballot : Propose(b) \/ Count(b) \/ (\E s \in Shapes : Reconfigure(b, s))

-----------------------------------------------------------------------------
(* Grants.  Those to nodes that never campaigned bind nobody, and are left out. *)

Owners == {owner[b] : b \in Ballot} \ {Nobody}

\* LeaseTable._grant: a grant that follows another without a gap is of the same era.
Grant(f, l) ==
    /\ f # l /\ l \in Owners /\ ~quiet[f]
    /\ LET new == given[f][l] = 0 \/ ~fresh[f][l] IN
       /\ new => eras[f][l] < MaxEra
       /\ ~new => sent[f][l] = 0
       /\ eras' = [eras EXCEPT ![f][l] = IF new THEN @ + 1 ELSE @]
       /\ given' = [given EXCEPT ![f][l] = IF new THEN eras[f][l] + 1 ELSE @]
       /\ sent' = [sent EXCEPT ![f][l] = IF new THEN eras[f][l] + 1 ELSE given[f][l]]
    /\ fresh' = [fresh EXCEPT ![f][l] = TRUE]
    /\ UNCHANGED <<vars, held, stamped, stamps, quiet, released, restarts>>

Take(l, f) ==
    /\ sent[f][l] # 0 /\ held[l][f] # sent[f][l]
    /\ held' = [held EXCEPT ![l][f] = sent[f][l]]
    /\ sent' = [sent EXCEPT ![f][l] = 0]
    /\ UNCHANGED <<vars, given, fresh, eras, stamped, stamps, quiet, released, restarts>>

HolderRunsOut(l, f) ==
    /\ held[l][f] # 0
    /\ held' = [held EXCEPT ![l][f] = 0]
    /\ UNCHANGED <<vars, given, fresh, sent, eras, stamped, stamps, quiet, released, restarts>>

\* Clocks: by now it has run out at the holder, and a grant still on its way would be taken as run out.
GranterRunsOut(f, l) ==
    /\ given[f][l] # 0
    /\ held[l][f] # given[f][l] \/ Plant("lease_across_pause")
    /\ given' = [given EXCEPT ![f][l] = 0]
    /\ sent' = [sent EXCEPT ![f][l] = 0]
    /\ UNCHANGED <<vars, fresh, held, eras, stamped, stamps, quiet, released, restarts>>

\* Acceptor._stamp: an answer to the leader of the promised ballot carries the era of the grant to its node.
Stamp(f, b) ==
    LET e == given[f][owner[b]] IN
    /\ Live(f) /\ promised[f] = b /\ Won(b) /\ f # owner[b]
    /\ e # 0 /\ (stamped[f] # e \/ e \notin stamps[b][f])
    /\ stamped' = [stamped EXCEPT ![f] = e]
    /\ stamps' = [stamps EXCEPT ![b][f] = @ \cup {e}]
    /\ UNCHANGED <<vars, given, fresh, sent, held, eras, quiet, released, restarts>>

\* GroupReplica._resign and hand-over: the leader stops first, then says so.
Release(b) ==
    /\ owner[b] # Nobody /\ ~released[b] /\ phase[b] \in {"lead", "last", "over"}
    /\ IF Plant("release_and_read") THEN UNCHANGED vars
       ELSE Leave({b}) /\ UNCHANGED <<disk, identity, owner, blog, adopted, acc, count>>
    /\ released' = [released EXCEPT ![b] = TRUE]
    /\ UNCHANGED <<given, fresh, sent, held, eras, stamped, stamps, quiet, restarts>>

-----------------------------------------------------------------------------
\* A new process of n: it holds and has given nothing, and is quiet for one grant.
Restart(n) ==
    /\ restarts < MaxRestarts
    /\ restarts' = restarts + 1
    /\ Leave(Roles(n))
    /\ known' = [known EXCEPT ![n] = born[n]]
    /\ UNCHANGED <<disk, host, born, formerAcc, formerNo, damages, owner, blog, adopted, acc, count>>
    /\ held' = [held EXCEPT ![n] = [m \in Node |-> 0]]
    /\ given' = [given EXCEPT ![n] = [m \in Node |-> 0]]
    /\ fresh' = [f \in Node |-> [fresh[f] EXCEPT ![n] = given[f][n] = 0]]
    /\ sent' = [f \in Node |-> [sent[f] EXCEPT ![n] = 0]]
    /\ stamped' = [stamped EXCEPT ![n] = 0]
    /\ quiet' = [quiet EXCEPT ![n] = ~Plant("forget_grants")]
    /\ UNCHANGED <<eras, stamps, released>>

\* One grant after the start: whatever the former process granted has run out at its holders.
QuietEnds(n) ==
    /\ quiet[n]
    /\ \A l \in Node : held[l][n] = 0
    /\ quiet' = [quiet EXCEPT ![n] = FALSE]
    /\ sent' = [sent EXCEPT ![n] = [m \in Node |-> 0]]
    /\ UNCHANGED <<vars, given, fresh, held, eras, stamped, stamps, released, restarts>>

LNext ==
    \/ Step /\ Protocol
    \/ ~(Eager /\ Countable # {}) /\
        \/ \E f \in Node, l \in Node : Grant(f, l) \/ Take(l, f) \/ HolderRunsOut(l, f) \/ GranterRunsOut(f, l)
        \/ \E f \in Node, b \in Ballot : Stamp(f, b)
        \/ \E b \in Ballot : Release(b)
        \/ \E n \in Node : Restart(n) \/ QuietEnds(n)

LSpec == LInit /\ [][LNext]_allvars

-----------------------------------------------------------------------------
\* Leader._look_at_grants: counted are this node and those that answered in the era of a grant that still runs.
Counted(b) ==
    LET l == owner[b] IN
    {l} \cup {f \in Node \ {l} : held[l][f] # 0 /\
                IF Plant("any_era") THEN stamps[b][f] # {} ELSE held[l][f] \in stamps[b][f]}

\* GroupReplica.holds_lease: strong reads are answered from what is applied here.
Reads(b) ==
    /\ Serves(b) /\ logBallot[owner[b]] = b
    /\ IsQuorum(LeaderConfig(b), Counted(b))

\* What the leader of b has applied: chosen, and durable here.  It acknowledges that far, and reads see that much.
Applied(b) == Min(count[b], IF owner[b] = Nobody THEN 0 ELSE acc[b][owner[b]])

OneReader == \A a, b \in Ballot : Reads(a) /\ Reads(b) => a = b
ReadsSeeWhatWasAcknowledged == \A a, b \in Ballot : Reads(b) => Applied(a) <= Applied(b)

=============================================================================
