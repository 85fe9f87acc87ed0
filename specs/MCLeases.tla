----------------------------- MODULE MCLeases ------------------------------
(* What the models of Leases share: names of nodes and symmetry. *)
EXTENDS Leases
CONSTANTS n1, n2, n3
Followers == Permutations(Founders \ {First})
=============================================================================
