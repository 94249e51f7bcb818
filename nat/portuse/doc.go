// Package portuse tells which source ports are in use over time at each address that connections were masqueraded or translated to, of what
// happened to a node's connections. It reads no kernel and no file: it is told of entries and events, each with its time.
package portuse
