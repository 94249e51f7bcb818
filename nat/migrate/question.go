package migrate

import (
	"fmt"
	"net/netip"
	"strings"

	"natlab/nat"
	"natlab/nat/proof"
	"natlab/topology"
)

// Aspect is what of an address is asked.
type Aspect uint8

// The aspects.
const (
	AtPort         Aspect = iota // the port that the Service has there
	OtherPort                    // a port that no Service has there
	OtherProtocol                // the Service's port, by TCP where it is UDP's and the other way round
	Ping                         // an echo request
	Unallocated                  // an address of the range of cluster IPs that no Service has
	InvalidSegment               // a segment of the endpoint that is out of the window of a connection that is there
	Remembered                   // which endpoint a client of before gets, with session affinity, after 400 others
)

var aspectNames = [...]string{"port", "another port", "another protocol", "ping", "an address of no Service", "a segment out of the window", "affinity after 400 clients"}

func (a Aspect) String() string {
	if int(a) < len(aspectNames) {
		return aspectNames[a]
	}
	return fmt.Sprintf("aspect(%d)", uint8(a))
}

// MarshalText makes an aspect its name in JSON.
func (a Aspect) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Aspect) UnmarshalText(b []byte) error {
	for i, name := range aspectNames {
		if name == string(b) {
			*a = Aspect(i)
			return nil
		}
	}
	return fmt.Errorf("aspect %q: want one of %s", b, strings.Join(aspectNames[:], ", "))
}

// Question is what a client asks.
type Question struct {
	Service  string         `json:"service,omitempty"` // "velero/minio:console"; "" where it is about none
	Type     proof.Access   `json:"type"`              // the kind of address asked
	Aspect   Aspect         `json:"aspect"`            //
	Client   string         `json:"client"`            // the member that asks
	Source   netip.Addr     `json:"source"`            // the address it asks from
	Target   netip.AddrPort `json:"target"`            // of an echo request without a port
	Protocol nat.Proto      `json:"protocol"`          //

	svc   *topology.Service
	port  *topology.ServicePort
	owner string // the node whose own address is asked; "" for none
}

// predictedPort is the client's.
const predictedPort = 40000

// Probe is the packet that is sent.
func (q Question) Probe() nat.Probe {
	src, dst := netip.AddrPortFrom(q.Source, predictedPort), q.Target
	if q.Aspect == Ping {
		src, dst = netip.AddrPortFrom(q.Source, 1), netip.AddrPortFrom(q.Target.Addr(), 1)
	}
	return nat.Probe{From: q.Client, Tuple: nat.TupleOf(q.Protocol, src, dst)}
}

// String is "outside -> NodePort 192.168.26.100:30450 tcp velero/minio:console".
func (q Question) String() string {
	at := q.Target.String()
	if q.Aspect == Ping {
		at = q.Target.Addr().String()
	}
	text := fmt.Sprintf("%s -> %s %s %s", q.Client, q.Type, at, q.Protocol)
	if q.Service != "" {
		text += " " + q.Service
	}
	if q.Aspect != AtPort {
		text += " (" + q.Aspect.String() + ")"
	}
	return text
}

// key tells questions apart.
type key struct {
	client string
	source netip.Addr
	target netip.AddrPort
	proto  nat.Proto
	aspect Aspect
}

func (q Question) key() key {
	k := key{q.Client, q.Source, q.Target, q.Protocol, q.Aspect}
	if k.aspect < InvalidSegment { // what is asked twice for two reasons is one packet
		k.aspect = AtPort
	}
	return k
}

// pingOf is the protocol of an echo request.
func pingOf(a netip.Addr) nat.Proto {
	if a.Is6() {
		return nat.ICMPv6
	}
	return nat.ICMP
}
