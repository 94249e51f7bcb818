// Package traffic is the lab's servers and clients: sockets in a namespace that ask, answer, and report as whom they saw
// each other. It watches nothing on the way and decides nothing; it reports what the two ends of a flow know.
//
// What goes over the wire is text, one line each way, so that nc and curl can play either part:
//
//	ask NONCE                                                               the server closes a TCP connection after its answer
//	hold NONCE                                                              it stays open for more
//	stream SIZE NONCE                                                       TCP: behind the answer so many bytes come back as they are sent
//	{"server":"default/web","peer":"10.0.0.1:40000","local":"10.0.0.2:80","nonce":"NONCE"}
//
// Any other line is answered like "hold", with itself as the nonce. A line that ends in " HTTP/1.1" is answered as HTTP.
package traffic

import "net/netip"

// Namespace is where a socket is made: netns.Handle. Do runs f with the calling thread inside the namespace; a socket
// stays there whatever thread uses it later.
type Namespace interface {
	Do(f func() error) error
}

// line is a server's answer on the wire.
type line struct {
	Server string         `json:"server"`
	Peer   netip.AddrPort `json:"peer"`
	Local  netip.AddrPort `json:"local"`
	Nonce  string         `json:"nonce"`
}

// Answer is what both ends of one exchange know.
type Answer struct {
	Server   string         // the name that Serve was given
	Endpoint netip.AddrPort // the server's own address: that of its socket
	PeerSeen netip.AddrPort // the client, as the server's socket sees it
	Local    netip.AddrPort // the client's own address: that of its socket
	From     netip.AddrPort // the server, as the client's socket sees it
}

// The two requests, and the limit of a line either way.
const (
	askWord  = "ask"
	holdWord = "hold"
	// The third one, of TCP: stream SIZE NONCE. Behind its answer so many bytes are sent back as they come.
	streamWord = "stream"
	maxLine    = 10240 // so that one may be longer than a jumbo frame
)
