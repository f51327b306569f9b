// Words of the pages. English texts are the keys; another language is a table of their translations.

const GERMAN = {
  "Overview": "Überblick", "Items": "Einträge", "Events": "Ereignisse", "Trend": "Verlauf", "Funnel": "Trichter",
  "Retention": "Wiederkehr", "Paths": "Wege", "People": "Personen", "Live": "Live", "Health": "Zustand",
  "Video": "Video", "COUNTER": "COUNTER", "Start": "Anfang",
  "From": "Von", "To": "Bis", "Time zone": "Zeitzone", "Language": "Sprache", "Key": "Schlüssel", "Theme": "Farben",
  "Apply": "Anwenden", "Sign in": "Anmelden", "Sign out": "Abmelden", "Search": "Suchen", "More": "Mehr",
  "Add a step": "Schritt hinzufügen", "Add a series": "Reihe hinzufügen", "Add a filter": "Filter hinzufügen",
  "Remove": "Entfernen", "Save": "Speichern", "Title": "Titel", "Data": "Zahlen", "Picture": "Bild",
  "Question": "Frage", "Loading …": "Wird geladen …", "estimate": "Schätzung", "not complete yet": "noch nicht vollständig",
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
  "First seen": "Zuerst gesehen", "Last seen": "Zuletzt gesehen", "Properties": "Eigenschaften",
  "The gateway asks for a key.": "Das Gateway verlangt einen Schlüssel.",
  "This isn't served here.": "Das gibt es hier nicht.", "The gateway can't be reached.": "Das Gateway ist nicht zu erreichen.",
  "Ticks are taken": "Ereignisse werden angenommen", "Waiting in the spool": "Im Spool wartend",
  "Oldest that waits": "Ältestes wartendes", "In quarantine": "In Quarantäne", "Elasticsearch": "Elasticsearch",
  "Drain": "Ausleitung", "running": "läuft", "not running": "läuft nicht", "yes": "ja", "no": "nein",
  "Events of the last five minutes": "Ereignisse der letzten fünf Minuten", "Watching …": "Beobachte …",
  "Stop": "Anhalten", "Watch": "Beobachten", "Add to overview": "Zum Überblick", "Skip to content": "Zum Inhalt",
  "Person": "Person", "Plays": "Wiedergaben", "Sources": "Quellen", "Engagement": "Verweildauer", "Delete": "Löschen",
};

const LANGUAGES = { en: {}, de: GERMAN };

export const names = { en: "English", de: "Deutsch" };

function stored() {
  try { return localStorage.getItem("metronome.language"); } catch { return null; }
}

export let language = stored() ?? (navigator.language.startsWith("de") ? "de" : "en");

export function speak(name) {
  language = name in LANGUAGES ? name : "en";
  document.documentElement.lang = language;
  try { localStorage.setItem("metronome.language", language); } catch { /* it lasts for this page then */ }
}

/** The text in the page's language; without a translation, as it is. */
export const t = (english) => LANGUAGES[language]?.[english] ?? english;

export const number = (value) => typeof value === "number"
  ? value.toLocaleString(language, { maximumFractionDigits: 2 }) : value ?? "–";

export const percent = (value) => value === null || value === undefined
  ? "–" : value.toLocaleString(language, { style: "percent", maximumFractionDigits: 1 });
