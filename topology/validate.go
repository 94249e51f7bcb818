package topology

func (l *loader) validate() {}
