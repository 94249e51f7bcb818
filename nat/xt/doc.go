// Package xt is iptables' extensions, a file each: what -m or -j NAME means as text, as the struct that x_tables keeps, as
// iptables -L prints it, and for a packet. One list has a row for each; nat/iptables and nat/xtables read that list and know
// no extension by themselves.
//
// To add one: write a file with its value (a Match or a Target), and its row; add the row to the list in list.go. The
// package's completeness test names what the row lacks.
package xt
