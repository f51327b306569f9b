// Words of the pages. English texts are the keys; another language is a table of their translations.

const GERMAN = {
  "Overview": "Überblick", "Items": "Einträge", "Events": "Ereignisse", "Trend": "Verlauf", "Funnel": "Trichter",
  "Retention": "Wiederkehr", "Paths": "Wege", "People": "Personen", "Live": "Live", "Health": "Zustand",
  "Video": "Video", "COUNTER": "COUNTER", "Start": "Anfang",
  "From": "Von", "To": "Bis", "Time zone": "Zeitzone", "Language": "Sprache", "Key": "Schlüssel", "Theme": "Farben",
  "Apply": "Anwenden", "Search": "Suchen", "More": "Mehr",
  "Add a step": "Schritt hinzufügen", "Add a series": "Reihe hinzufügen", "Add a filter": "Filter hinzufügen",
  "Remove": "Entfernen", "Title": "Titel", "Data": "Zahlen", 
  "Loading …": "Wird geladen …", "estimate": "Schätzung", "not complete yet": "noch nicht vollständig",
  "There is nothing here in this range.": "In diesem Zeitraum gibt es hier nichts.",
  "Event": "Ereignis", "Measure": "Maß", "Field": "Feld", "By": "Nach", "Interval": "Raster", "Formula": "Formel",
  "Window": "Frist", "Order": "Reihenfolge", "Step": "Schritt", "Period": "Zeitraum", "Periods": "Zeiträume",
  "Start event": "Erstes Ereignis", "Return event": "Wiederkehr durch", "Depth": "Tiefe", "Any event": "Jedes Ereignis",
  "Value": "Wert", "Events by day": "Ereignisse je Tag", "People by day": "Personen je Tag",
  "Views and downloads": "Aufrufe und Downloads", "Most viewed items": "Meistgesehene Einträge",
  "Where visitors come from": "Woher Besucher kommen", "Browsers": "Browser", "What happened": "Was geschah",
  "Downloads by format": "Downloads nach Format", "Views by date": "Aufrufe nach Datum", "Referers": "Verweise",
  "Time": "Zeit", "Item": "Eintrag", "Count": "Anzahl", "Share": "Anteil", "Name": "Name", "Cohort": "Gruppe",
  "Size": "Größe", "Group": "Gruppe", "Id of a person or session": "Kennung einer Person oder Sitzung",
  "First seen": "Zuerst gesehen", "Last seen": "Zuletzt gesehen", 
  "This isn't served here.": "Das gibt es hier nicht.", "The gateway can't be reached.": "Das Gateway ist nicht zu erreichen.",
  "Ticks are taken": "Ereignisse werden angenommen", "Waiting in the spool": "Im Spool wartend",
  "Oldest that waits": "Ältestes wartendes", "In quarantine": "In Quarantäne", "Elasticsearch": "Elasticsearch",
  "Drain": "Ausleitung", "running": "läuft", "not running": "läuft nicht", "yes": "ja", "no": "nein",
  "Watching …": "Beobachte …",
  "Stop": "Anhalten", "Skip to content": "Zum Inhalt",
  "Person": "Person", "Plays": "Wiedergaben", "Sources": "Quellen", "Engagement": "Verweildauer", "Delete": "Löschen",
  "The gateway asks for a key.": "Das Gateway verlangt einen Schlüssel.", "Sign in with a password": "Mit einem Passwort anmelden",
  "Dashboards": "Tafeln", "Dashboard": "Tafel", "New dashboard": "Neue Tafel", "Panels": "Bilder", "Panel": "Bild", "Version": "Fassung",
  "Changed": "Geändert", "Add": "Hinzufügen", "Add a metric": "Kennzahl hinzufügen", "Metric": "Kennzahl", "Add to a dashboard": "Auf eine Tafel",
  "Added.": "Hinzugefügt.", "Rename": "Umbenennen", "Address to share": "Adresse zum Weitergeben", "An older version": "Eine ältere Fassung",
  "Newest": "Neueste", "Make it the newest": "Zur neuesten machen", "Move to the front": "Nach vorn", "Move to the back": "Nach hinten",
  "Delete this dashboard? Its versions stay readable.": "Diese Tafel löschen? Ihre Fassungen bleiben lesbar.",
  "Nothing is on it yet: build a trend, a funnel or another figure and add it, or choose a metric.":
    "Noch ist nichts darauf: Bauen Sie einen Verlauf, einen Trichter oder etwas anderes und fügen Sie es hinzu, oder wählen Sie eine Kennzahl.",
  "There are no dashboards yet.": "Es gibt noch keine Tafeln.", "There is no such dashboard.": "Diese Tafel gibt es nicht.",
  "There is a dashboard of this name already.": "Eine Tafel dieses Namens gibt es schon.",
  "Somebody else has changed this dashboard. Nothing of yours was saved.": "Jemand anders hat diese Tafel geändert. Von Ihnen wurde nichts gespeichert.",
  "Read it again": "Neu lesen", "This page can't show this panel.": "Dieses Bild kann die Seite nicht zeigen.",
  "There is no such metric.": "Diese Kennzahl gibt es nicht.",
  "Another server computes this metric; ask for its result.": "Diese Kennzahl berechnet ein anderer Server; fragen Sie nach ihrem Ergebnis.",
  "Sessions": "Sitzungen", "Seconds watched": "Gesehene Sekunden", "From second": "Von Sekunde", "To second": "Bis Sekunde", "Total": "Summe", "Report": "Bericht",
  "Months that can be asked for": "Monate, nach denen gefragt werden kann", "Ledger": "Bilanz", "Beside the ledger": "Neben der Bilanz",
  "Accepted": "Angenommen", "Stored": "Gespeichert", "Stored before, and sent again": "Schon gespeichert und noch einmal geschickt",
  "Put in quarantine by Elasticsearch's refusal": "Von Elasticsearch abgelehnt und in Quarantäne", "Difference": "Unterschied",
  "Dropped, of persons who were erased": "Von gelöschten Personen, verworfen", "Refused": "Abgelehnt",
  "Refused, and kept in quarantine": "Abgelehnt und in Quarantäne verwahrt", "Repeated within their request": "In der Anfrage wiederholt",
  "Requests that the disk damaged": "Von der Platte beschädigte Anfragen", "In quarantine now": "Jetzt in Quarantäne",
  "count": "Ereignisse", "unique": "Personen", "per_subject": "Ereignisse je Person", "sum": "Summe", "avg": "Durchschnitt", "min": "Kleinstes",
  "max": "Größtes", "median": "Median", "p90": "90. Perzentil", "hour": "Stunde", "day": "Tag", "week": "Woche", "month": "Monat", "year": "Jahr",
  "total": "alles in einem", "sequential": "in dieser Folge", "strict": "in dieser Folge, nichts dazwischen", "any": "in jeder Folge",
  "auto": "wie das System", "light": "hell", "dark": "dunkel",
  "ready": "bereit", "degraded": "eingeschränkt", "unready": "nicht bereit",
  "What became of the events that this host has accepted. The first figure is the sum of the others.":
    "Was aus den Ereignissen wurde, die dieser Rechner angenommen hat. Die erste Zahl ist die Summe der anderen.",
  "A difference is small while events flow. One that stays: above 0, the disk damaged requests or an erasure took events out of the spool; below 0, events went to Elasticsearch twice, after a crash or a replay.":
    "Solange Ereignisse fließen, ist der Unterschied klein. Einer, der bleibt: über 0 hat die Platte Anfragen beschädigt, oder eine Löschung hat Ereignisse aus dem Spool genommen; unter 0 gingen Ereignisse nach einem Absturz oder einer Wiederholung zweimal zu Elasticsearch.",
};

// Words of a question that say more in a sentence.
const ENGLISH = {
  count: "events", unique: "persons", per_subject: "events a person", avg: "average", min: "least", max: "most", p90: "90th percentile",
  total: "all in one", sequential: "in this order", strict: "in this order, nothing between", any: "in any order",
};

const LANGUAGES = { en: ENGLISH, de: GERMAN };

export const names = { en: "English", de: "Deutsch" };

function stored() {
  try { return localStorage.getItem("metronome.language"); } catch { return null; }
}

const wanted = stored() ?? navigator.language.slice(0, 2);

export let language = wanted in LANGUAGES ? wanted : "en";

export function speak(name) {
  language = name in LANGUAGES ? name : "en";
  document.documentElement.lang = language;
  try { localStorage.setItem("metronome.language", language); } catch { /* it lasts for this page then */ }
}

/** Texts that were wanted in another language than English and have no translation; for the tests. */
export const untranslated = new Set();

/** The text in the page's language; without a translation, as it is. */
export function t(english) {
  if (language !== "en" && !(english in LANGUAGES[language])) untranslated.add(english);
  return LANGUAGES[language][english] ?? english;
}

export const number = (value) => typeof value === "number"
  ? value.toLocaleString(language, { maximumFractionDigits: 2 }) : value ?? "–";

export const percent = (value) => value === null || value === undefined
  ? "–" : value.toLocaleString(language, { style: "percent", maximumFractionDigits: 1 });
