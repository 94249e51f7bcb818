// Package tunnel is tunl0 where the kernel has no ipip device: a TUN device of that name whose user-space end speaks the
// same wire format (RFC 2003). It knows one node's device, its next hops and nothing of the lab around it.
package tunnel
