package rules

import (
	"fmt"
	"strings"
)

// maxListed is how many allowed words a hint lists.
const maxListed = 24

// suggest is the hint for a word that is none of the allowed ones: the nearest of them, or all.
func suggest(word string, allowed []string) string {
	if near := nearest(word, allowed); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return allowedHint(allowed)
}

func allowedHint(allowed []string) string {
	switch {
	case len(allowed) == 0:
		return ""
	case len(allowed) > maxListed:
		return fmt.Sprintf("allowed: %s and %d more", strings.Join(allowed[:maxListed], ", "), len(allowed)-maxListed)
	default:
		return "allowed: " + strings.Join(allowed, ", ")
	}
}

// nearest is the allowed word the fewest edits away, if these are few for its length.
func nearest(word string, allowed []string) string {
	if len(word) > 64 {
		return ""
	}
	best, least := "", 0
	for _, candidate := range allowed {
		edits := distance(strings.ToLower(word), strings.ToLower(candidate))
		if edits <= max(1, min(len(candidate), len(word))/3) && (best == "" || edits < least) {
			best, least = candidate, edits
		}
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
