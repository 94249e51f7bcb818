// Package bundle makes a node of what its own programs print of it: the namespace, the rules of both backends, the sets, the entries and the
// sockets that an explanation, an audit and a difference work with. How the text is taken apart is topology/dump's.
package bundle
