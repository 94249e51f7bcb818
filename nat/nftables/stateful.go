package nftables

import (
	"maps"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// periods are the times that a Limit's rate is for.
var periods = map[string]time.Duration{
	"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour,
}

// bucket is a limit's credit, as time (struct nft_limit).
type bucket struct {
	tokens time.Duration
	last   time.Time
}

// full is how much credit a limit has at most, and cost what a packet of a length takes of it (nft_limit_init).
func (l Limit) full() time.Duration {
	each, burst := periods[l.Per], l.Burst
	if l.Bytes {
		return time.Duration(float64(each) * float64(l.Rate+burst) / float64(l.Rate))
	}
	if burst == 0 {
		burst = 5 // NFT_LIMIT_PKT_BURST_DEFAULT
	}
	return each / time.Duration(l.Rate) * time.Duration(burst)
}

func (l Limit) cost(length int) time.Duration {
	if l.Bytes {
		return time.Duration(float64(periods[l.Per]) * float64(length) / float64(l.Rate))
	}
	return periods[l.Per] / time.Duration(l.Rate)
}

// within takes a packet's cost from a bucket (nft_limit_eval).
func (l Limit) within(b *bucket, now time.Time, length int) bool {
	b.tokens = min(l.full(), b.tokens+now.Sub(b.last))
	b.last = now
	cost := l.cost(length)
	if b.tokens < cost {
		return false
	}
	b.tokens -= cost
	return true
}

// limitStep holds up to a rate; at is what the Memory knows it by. Where the World does not remember it is not known, and named by the text.
func limitStep(l Limit, text string, at any) step {
	if l.Rate == 0 || periods[l.Per] == 0 {
		return openStep(text)
	}
	return func(r *run) flow {
		w, length, ok := r.memory()
		if !ok || l.Bytes && length < 0 {
			return r.open(text)
		}
		now := w.Now()
		b := rules.Recall(w.Memory(), at, func() bucket { return bucket{l.full(), now} })
		return hold(l.within(b, now, length) != l.Over)
	}
}

// memory is the World that remembers, and the packet's length, -1 where that is not known; false for one that does not.
func (r *run) memory() (w rules.Rememberer, length int, ok bool) {
	length = -1
	if r.visit.Wire != nil {
		length = r.visit.Wire.Len()
	}
	w, ok = r.visit.World.(rules.Rememberer)
	return w, length, ok && w.Memory() != nil
}

// quotaStep counts bytes (nft_quota_do_eval).
func quotaStep(q Quota, text string, at any) step {
	return func(r *run) flow {
		if q.Used >= q.Bytes {
			return hold(q.Over)
		}
		w, length, ok := r.memory()
		if !ok || length < 0 {
			return r.open(text)
		}
		used := rules.Recall(w.Memory(), at, func() uint64 { return q.Used })
		*used += uint64(length)
		over := *used > q.Bytes
		if v, is := w.(rules.Versioned); is && !v.Kernel().Has(nat.QuotaHoldsLast) {
			over = *used >= q.Bytes
		}
		return hold(over == q.Over)
	}
}

// updateStep puts a key into a set, or takes it out (nft_dynset_eval). A set that is full takes none, and the rule does not match then.
func (c *Compiled) updateStep(u Update, _ rules.Place) step {
	text := u.String()
	read, set := c.reader(u.Key), c.sets[u.Set]
	if read == nil || set == nil {
		return openStep(text)
	}
	timeout := u.Timeout
	if timeout == 0 {
		timeout = set.timeout
	}
	return func(r *run) flow {
		var k key
		switch read(r, &k) {
		case rules.No:
			return breaks
		case rules.Unknown:
			return r.open(text)
		case rules.Yes:
		}
		now, m := r.remembered(set)
		if m == nil { // that the set is full is not followed where the packet is alone
			if len(u.Statements) > 0 {
				return r.open(text)
			}
			return goesOn
		}
		if u.Op == "delete" {
			delete(m.members, k)
			return goesOn
		}
		one := m.put(k, now, timeout, u, set.size)
		if one == nil {
			return breaks
		}
		return r.ownStatements(one, now)
	}
}

// put adds a key for a time, 0 for ever; what updates has one that is there live anew. nil: there is no room.
func (m *live) put(k key, now time.Time, timeout time.Duration, u Update, size int) *member {
	one := m.members[k]
	there := one != nil && !one.over(now)
	if there && u.Op != "update" {
		return one
	}
	if !there {
		if size > 0 && m.count(now) >= size {
			return nil
		}
		one = &member{own: u.Statements}
		m.members[k] = one
	}
	one.until = time.Time{}
	if timeout > 0 {
		one.until = now.Add(timeout)
	}
	return one
}

// count is how many elements there are. Those whose time is over go.
func (m *live) count(now time.Time) int {
	maps.DeleteFunc(m.members, func(_ key, one *member) bool { return one.over(now) })
	return len(m.members)
}

// ownStatements are an element's own: the rule goes on where they hold.
func (r *run) ownStatements(one *member, now time.Time) flow {
	at := 0
	for _, s := range one.own {
		switch l := s.(type) {
		case Counter:
		case Limit:
			_, length, _ := r.memory()
			if l.Rate == 0 || periods[l.Per] == 0 || l.Bytes && length < 0 {
				return r.open(s.String())
			}
			if at == len(one.buckets) {
				one.buckets = append(one.buckets, bucket{l.full(), now})
			}
			if l.within(&one.buckets[at], now, length) == l.Over {
				return breaks
			}
			at++
		default:
			return r.open(s.String())
		}
	}
	return goesOn
}

// Bases are the names of base chains that packets of a family meet, as a hook calls them where their priorities are the same: what was
// registered last comes first.
func (t *Table) Bases(f nat.Family) (out []string) {
	if !t.Family.Has(f) {
		return nil
	}
	for i := range t.Chains {
		if b := t.Chains[i].Base; b != nil {
			if _, ok := b.NatHook(); ok {
				out = append(out, t.Chains[i].Name)
			}
		}
	}
	return out
}

// Targets are the chains that a rule may lead to, by its verdict or by the map that it asks.
func (t *Table) Targets(r Rule) (out []string) {
	add := func(v *Verdict) {
		if v != nil && v.Chain != "" {
			out = append(out, v.Chain)
		}
	}
	for _, s := range r.Statements {
		switch s := s.(type) {
		case *Verdict:
			add(s)
		case VMap:
			elements := s.Map.Elements
			if set, ok := t.Set(s.Map.Name); ok && s.Map.Name != "" {
				elements = set.Elements
			}
			for i := range elements {
				add(elements[i].Verdict)
			}
		case Match, Assign, NAT, Reject, Counter, Limit, Quota, Log, Update, ObjectRef, NoTrack, Queue, Compat, Opaque:
		}
	}
	return out
}
