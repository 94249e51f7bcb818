// Package live follows the flows of a running network: it deals what the witnesses see out to flows while it comes in, and tells what
// became of each. It judges nothing: what should have become of them is for nat/proof.
package live
