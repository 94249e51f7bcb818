package iptables

import "strconv"

func (Accept) appendText(b []byte) []byte { return append(b, " -j ACCEPT"...) }
func (Drop) appendText(b []byte) []byte   { return append(b, " -j DROP"...) }
func (Return) appendText(b []byte) []byte { return append(b, " -j RETURN"...) }
func (t Jump) appendText(b []byte) []byte { return append(append(b, " -j "...), t.Chain...) }
func (t Goto) appendText(b []byte) []byte { return append(append(b, " -g "...), t.Chain...) }
func (t Reject) appendText(b []byte) []byte {
	return appendWord(append(b, " -j REJECT"...), false, "--reject-with", t.With)
}

func appendXMark(b []byte, value, mask uint32) []byte {
	return appendHex(append(appendHex(append(b, " --set-xmark "...), value), '/'), mask)
}

func (t SetMark) appendText(b []byte) []byte {
	return appendXMark(append(b, " -j MARK"...), t.Value, t.Mask)
}

func (t SetConnMark) appendText(b []byte) []byte {
	b = append(b, " -j CONNMARK"...)
	if t.Action == ConnMarkSet {
		return appendXMark(b, t.Value, t.Mask)
	}
	option := " --save-mark"
	if t.Action == ConnMarkRestore {
		option = " --restore-mark"
	}
	b = appendHex(append(append(b, option...), " --nfmask "...), t.NFMask)
	return appendHex(append(b, " --ctmask "...), t.CTMask)
}

func (r NATRange) appendTo(b []byte) []byte {
	port := r.MinPort != 0
	if r.MinAddr.IsValid() {
		brackets := port && r.MinAddr.Is6() // around the whole range
		if brackets {
			b = append(b, '[')
		}
		b = appendAddr(b, r.MinAddr)
		if r.MaxAddr.IsValid() && r.MaxAddr != r.MinAddr {
			b = appendAddr(append(b, '-'), r.MaxAddr)
		}
		if brackets {
			b = append(b, ']')
		}
	}
	if port {
		b = PortRange{Low: r.MinPort, High: r.MaxPort}.appendText(append(b, ':'), '-')
		if r.BasePort != 0 {
			b = strconv.AppendUint(append(b, '/'), uint64(r.BasePort), 10)
		}
	}
	return b
}

func (r NATRange) appendFlags(b []byte) []byte {
	b = appendFlag(appendFlag(b, r.Random, "--random"), r.FullyRandom, "--random-fully")
	return appendFlag(b, r.Persistent, "--persistent")
}

func (r NATRange) appendToPorts(b []byte) []byte {
	if r.MinPort == 0 {
		return b
	}
	return PortRange{Low: r.MinPort, High: r.MaxPort}.appendText(append(b, " --to-ports "...), '-')
}

func (t DNAT) appendText(b []byte) []byte {
	return t.Range.appendFlags(t.Range.appendTo(append(b, " -j DNAT --to-destination "...)))
}

func (t SNAT) appendText(b []byte) []byte {
	return t.Range.appendFlags(t.Range.appendTo(append(b, " -j SNAT --to-source "...)))
}

func (t Masquerade) appendText(b []byte) []byte {
	return t.Range.appendFlags(t.Range.appendToPorts(append(b, " -j MASQUERADE"...)))
}

func (t Redirect) appendText(b []byte) []byte {
	return t.Range.appendFlags(t.Range.appendToPorts(append(b, " -j REDIRECT"...)))
}

func (t NetMap) appendText(b []byte) []byte {
	return appendPrefix(append(b, " -j NETMAP --to "...), t.To)
}

func (t NoTrack) appendText(b []byte) []byte {
	if t.Legacy {
		return append(b, " -j NOTRACK"...)
	}
	return append(b, " -j CT --notrack"...)
}

func appendTarget(b []byte, name, options string) []byte {
	return appendFlag(append(append(b, " -j "...), name...), options != "", options)
}

func (t Passive) appendText(b []byte) []byte   { return appendTarget(b, t.Target, t.Options) }
func (t QueueTo) appendText(b []byte) []byte   { return appendTarget(b, "NFQUEUE", t.Options) }
func (t TProxy) appendText(b []byte) []byte    { return appendTarget(b, "TPROXY", t.Options) }
func (t RawTarget) appendText(b []byte) []byte { return appendTarget(b, t.Target, t.Options) }
