// Package proof decides whether what was seen of a flow is what had to happen: it lists the flows that a cluster's
// Services call for, joins the witnesses' observations to them, and issues a Certificate for each.
package proof
