// Package userspace puts nat/gateway on the wire of a network namespace: the kernel keeps routing, neighbours, sockets and segmentation, and
// hands each packet over at its hooks, where tables, conntrack and NAT are natlab's own. What these do is nat/gateway's business.
package userspace
