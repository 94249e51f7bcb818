package nftables

// Unread are the parts of a rule that natlab keeps as they are written, and does not read.
func Unread(r Rule) (out []string) {
	for _, s := range r.Statements {
		switch s := s.(type) {
		case Opaque:
			out = append(out, s.Text)
		case Compat:
			out = append(out, s.String())
		case Match, VMap, *Verdict, Assign, NAT, Reject, Counter, Limit, Quota, Log, Update, ObjectRef, NoTrack, Queue:
		}
	}
	return out
}
