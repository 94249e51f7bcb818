package nfqueue

import "encoding/binary"

// Packet is one that waits for its verdict. Its bytes are good until the batch that it came with is done.
type Packet struct {
	ID       uint32
	Hook     uint8  // NF_INET_PRE_ROUTING and so on
	Protocol uint16 // the EtherType
	In, Out  uint32 // the devices' indexes; 0 for none
	Mark     uint32
	Address  []byte // the hardware address that it came from; nil for none
	Payload  []byte // from the IP header on
	Length   int    // of the packet, which may be more than the payload
	Owned    bool   // a process sent it, whose are these
	UID, GID uint32
	// Unsummed: its transport checksum is for the device to complete (CHECKSUM_PARTIAL).
	Unsummed bool
	// Segments: it is several packets, which a device is to take apart (GSO).
	Segments bool
	// Unverified: nobody has looked at its checksum yet. It is told at PREROUTING, INPUT and FORWARD.
	Unverified bool

	held uint32 // the mark that the kernel has
}

// Cut reports whether a part of the packet is missing from the payload.
func (p *Packet) Cut() bool { return p.Length > len(p.Payload) }

// parse reads a packet message's body, from struct nfgenmsg on; false: it has no id.
func (p *Packet) parse(body []byte) bool {
	*p = Packet{}
	if len(body) < genHeader {
		return false
	}
	there := false
	for rest := body[genHeader:]; ; {
		kind, value, more, ok := attribute(rest)
		if !ok {
			break
		}
		rest = more
		switch kind {
		case attrPacketHeader:
			if len(value) >= 7 {
				p.ID, p.Protocol, p.Hook = binary.BigEndian.Uint32(value), binary.BigEndian.Uint16(value[4:]), value[6]
				there = true
			}
		case attrAddress:
			if len(value) >= 4 {
				n := int(binary.BigEndian.Uint16(value))
				p.Address = value[4:min(4+n, len(value))]
			}
		case attrPayload:
			p.Payload = value
		default:
			p.number(kind, value)
		}
	}
	p.Length = max(p.Length, len(p.Payload))
	return there
}

// number reads an attribute that is one.
func (p *Packet) number(kind uint16, value []byte) {
	if len(value) < 4 {
		return
	}
	switch n := binary.BigEndian.Uint32(value); kind {
	case attrMark:
		p.Mark, p.held = n, n
	case attrInDevice:
		p.In = n
	case attrOutDevice:
		p.Out = n
	case attrLength:
		p.Length = int(n)
	case attrInfo:
		p.Unsummed, p.Segments, p.Unverified = n&infoUnsummed != 0, n&infoSegments != 0, n&infoUnverified != 0
	case attrUID:
		p.UID, p.Owned = n, true
	case attrGID:
		p.GID = n
	}
}
