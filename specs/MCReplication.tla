--------------------------- MODULE MCReplication ---------------------------
(* What the models of Replication share: names of nodes, symmetry, and the configurations that they go through. *)
EXTENDS Replication
CONSTANTS n1, n2, n3, n4

Followers == Permutations(Founders \ {First})

Shape(v, l, x, r) == [v |-> v, l |-> l, x |-> x, r |-> r]
\* The log replica that waits on n4 takes the vote of n3 or of n2.
SwapForLog == {Shape({n1, n2, n4}, {n4}, {n3}, {}), Shape({n1, n3, n4}, {n4}, {n2}, {})}
\* n3 is made anew, and gets its vote back.
RenewN3 == {Shape({n1, n2}, {}, {n3}, {n3}), Shape({n1, n2, n3}, {}, {}, {})}
SwapN3 == {Shape({n1, n2, n4}, {n4}, {n3}, {})}
=============================================================================
