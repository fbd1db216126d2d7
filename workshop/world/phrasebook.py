"""Everyday sentences between English, French, Spanish and German.

A pattern gives the same sentence in four languages. Its slots name a table and, where grammar needs it, a form.
Held out: combinations of a pattern and its fillers, in all languages and directions at once.
"""
import re

from . import Turn, casual, choose, draw

LANGUAGES = ("English", "French", "Spanish", "German")


def table(text, *forms):
    """Converts rows `a | b | c ...` to dictionaries, with one column for each form."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    assert all(len(row) == len(forms) for row in rows), [row for row in rows if len(row) != len(forms)]
    return [dict(zip(forms, row)) for row in rows]


TABLES = {
    "place": table("""
        the station | la gare | à la gare | la estación | a la estación | der Bahnhof | den Bahnhof | zum Bahnhof
        the airport | l'aéroport | à l'aéroport | el aeropuerto | al aeropuerto | der Flughafen | den Flughafen | zum Flughafen
        the hotel | l'hôtel | à l'hôtel | el hotel | al hotel | das Hotel | das Hotel | zum Hotel
        the bank | la banque | à la banque | el banco | al banco | die Bank | die Bank | zur Bank
        the museum | le musée | au musée | el museo | al museo | das Museum | das Museum | zum Museum
        the pharmacy | la pharmacie | à la pharmacie | la farmacia | a la farmacia | die Apotheke | die Apotheke | zur Apotheke
        the hospital | l'hôpital | à l'hôpital | el hospital | al hospital | das Krankenhaus | das Krankenhaus | zum Krankenhaus
        the market | le marché | au marché | el mercado | al mercado | der Markt | den Markt | zum Markt
        the beach | la plage | à la plage | la playa | a la playa | der Strand | den Strand | zum Strand
        the library | la bibliothèque | à la bibliothèque | la biblioteca | a la biblioteca | die Bibliothek | die Bibliothek | zur Bibliothek
        the restaurant | le restaurant | au restaurant | el restaurante | al restaurante | das Restaurant | das Restaurant | zum Restaurant
        the church | l'église | à l'église | la iglesia | a la iglesia | die Kirche | die Kirche | zur Kirche
        the school | l'école | à l'école | la escuela | a la escuela | die Schule | die Schule | zur Schule
        the park | le parc | au parc | el parque | al parque | der Park | den Park | zum Park
        the theatre | le théâtre | au théâtre | el teatro | al teatro | das Theater | das Theater | zum Theater
        the supermarket | le supermarché | au supermarché | el supermercado | al supermercado | der Supermarkt | den Supermarkt | zum Supermarkt
        the bridge | le pont | au pont | el puente | al puente | die Brücke | die Brücke | zur Brücke
        the castle | le château | au château | el castillo | al castillo | das Schloss | das Schloss | zum Schloss
        the swimming pool | la piscine | à la piscine | la piscina | a la piscina | das Schwimmbad | das Schwimmbad | zum Schwimmbad
        the university | l'université | à l'université | la universidad | a la universidad | die Universität | die Universität | zur Universität
        the bakery | la boulangerie | à la boulangerie | la panadería | a la panadería | die Bäckerei | die Bäckerei | zur Bäckerei
        the cinema | le cinéma | au cinéma | el cine | al cine | das Kino | das Kino | zum Kino
        """, "en", "fr", "fr.to", "es", "es.to", "de", "de.acc", "de.to"),
    "item": table("""
        a coffee | un café | un café | ein Kaffee | einen Kaffee
        a tea | un thé | un té | ein Tee | einen Tee
        a beer | une bière | una cerveza | ein Bier | ein Bier
        a glass of water | un verre d'eau | un vaso de agua | ein Glas Wasser | ein Glas Wasser
        an apple | une pomme | una manzana | ein Apfel | einen Apfel
        a sandwich | un sandwich | un bocadillo | ein Sandwich | ein Sandwich
        a soup | une soupe | una sopa | eine Suppe | eine Suppe
        a salad | une salade | una ensalada | ein Salat | einen Salat
        an ice cream | une glace | un helado | ein Eis | ein Eis
        a piece of cake | un morceau de gâteau | un trozo de pastel | ein Stück Kuchen | ein Stück Kuchen
        a newspaper | un journal | un periódico | eine Zeitung | eine Zeitung
        a book | un livre | un libro | ein Buch | ein Buch
        an umbrella | un parapluie | un paraguas | ein Regenschirm | einen Regenschirm
        a map of the city | un plan de la ville | un mapa de la ciudad | ein Stadtplan | einen Stadtplan
        a room | une chambre | una habitación | ein Zimmer | ein Zimmer
        a ticket | un billet | un billete | eine Fahrkarte | eine Fahrkarte
        a key | une clé | una llave | ein Schlüssel | einen Schlüssel
        a bicycle | un vélo | una bicicleta | ein Fahrrad | ein Fahrrad
        a car | une voiture | un coche | ein Auto | ein Auto
        a hat | un chapeau | un sombrero | ein Hut | einen Hut
        a bottle of wine | une bouteille de vin | una botella de vino | eine Flasche Wein | eine Flasche Wein
        a lamp | une lampe | una lámpara | eine Lampe | eine Lampe
        a shirt | une chemise | una camisa | ein Hemd | ein Hemd
        a pizza | une pizza | una pizza | eine Pizza | eine Pizza
        """, "en", "fr", "es", "de", "de.acc"),
    "person": table("""
        my mother | ma mère | mi madre | meine Mutter
        my father | mon père | mi padre | mein Vater
        my sister | ma sœur | mi hermana | meine Schwester
        my brother | mon frère | mi hermano | mein Bruder
        my friend | mon ami | mi amigo | mein Freund
        the teacher | le professeur | el profesor | der Lehrer
        the doctor | le médecin | el médico | der Arzt
        the child | l'enfant | el niño | das Kind
        the woman | la femme | la mujer | die Frau
        the man | l'homme | el hombre | der Mann
        our neighbour | notre voisin | nuestro vecino | unser Nachbar
        the girl | la fille | la niña | das Mädchen
        my grandmother | ma grand-mère | mi abuela | meine Großmutter
        my uncle | mon oncle | mi tío | mein Onkel
        """, "en", "fr", "es", "de"),
    "act": table("""
        works | travaille | trabaja | arbeitet |
        sleeps | dort | duerme | schläft |
        sings | chante | canta | singt |
        cooks | cuisine | cocina | kocht |
        dances | danse | baila | tanzt |
        swims in the lake | nage dans le lac | nada en el lago | schwimmt | im See
        reads the newspaper | lit le journal | lee el periódico | liest | die Zeitung
        drinks tea | boit du thé | bebe té | trinkt | Tee
        plays in the garden | joue dans le jardin | juega en el jardín | spielt | im Garten
        learns German | apprend l'allemand | aprende alemán | lernt | Deutsch
        goes home | rentre à la maison | va a casa | geht | nach Hause
        writes a letter | écrit une lettre | escribe una carta | schreibt | einen Brief
        watches a film | regarde un film | ve una película | sieht | einen Film
        eats bread | mange du pain | come pan | isst | Brot
        """, "en", "fr", "es", "de", "de.rest"),
    "when": table("""
        today | aujourd'hui | hoy | heute
        every day | tous les jours | todos los días | jeden Tag
        in the morning | le matin | por la mañana | am Morgen
        in the evening | le soir | por la noche | am Abend
        on Sunday | dimanche | el domingo | am Sonntag
        on Monday | lundi | el lunes | am Montag
        now | maintenant | ahora | jetzt
        this week | cette semaine | esta semana | diese Woche
        """, "en", "fr", "es", "de"),
    "ride": table("""
        the train | le train | el tren | der Zug
        the bus | le bus | el autobús | der Bus
        the ship | le bateau | el barco | das Schiff
        the next train | le prochain train | el próximo tren | der nächste Zug
        the last bus | le dernier bus | el último autobús | der letzte Bus
        """, "en", "fr", "es", "de"),
    "hour": [dict.fromkeys(("en", "fr", "es", "de"), str(hour)) for hour in range(2, 13)],
    "thing": table("""
        the house | la maison | f | la casa | f | das Haus
        the car | la voiture | f | el coche | m | das Auto
        the city | la ville | f | la ciudad | f | die Stadt
        the book | le livre | m | el libro | m | das Buch
        the garden | le jardin | m | el jardín | m | der Garten
        the room | la chambre | f | la habitación | f | das Zimmer
        the dog | le chien | m | el perro | m | der Hund
        the cat | le chat | m | el gato | m | die Katze
        the table | la table | f | la mesa | f | der Tisch
        the coat | le manteau | m | el abrigo | m | der Mantel
        the street | la rue | f | la calle | f | die Straße
        the flower | la fleur | f | la flor | f | die Blume
        the door | la porte | f | la puerta | f | die Tür
        the lamp | la lampe | f | la lámpara | f | die Lampe
        """, "en", "fr", "fr.gender", "es", "es.gender", "de"),
    "look": table("""
        big | grand | grande | grande | grande | groß
        small | petit | petite | pequeño | pequeña | klein
        old | vieux | vieille | viejo | vieja | alt
        new | neuf | neuve | nuevo | nueva | neu
        beautiful | beau | belle | bonito | bonita | schön
        red | rouge | rouge | rojo | roja | rot
        white | blanc | blanche | blanco | blanca | weiß
        black | noir | noire | negro | negra | schwarz
        green | vert | verte | verde | verde | grün
        blue | bleu | bleue | azul | azul | blau
        expensive | cher | chère | caro | cara | teuer
        """, "en", "fr.m", "fr.f", "es.m", "es.f", "de"),
    "liked": table("""
        music | la musique | la música | Musik
        the sea | la mer | el mar | das Meer
        tea | le thé | el té | Tee
        coffee | le café | el café | Kaffee
        winter | l'hiver | el invierno | den Winter
        summer | l'été | el verano | den Sommer
        chocolate | le chocolat | el chocolate | Schokolade
        cheese | le fromage | el queso | Käse
        fish | le poisson | el pescado | Fisch
        bread | le pain | el pan | Brot
        the rain | la pluie | la lluvia | den Regen
        the snow | la neige | la nieve | den Schnee
        my city | ma ville | mi ciudad | meine Stadt
        this song | cette chanson | esta canción | dieses Lied
        football | le football | el fútbol | Fußball
        """, "en", "fr", "es", "de"),
    "number": table("""
        two | deux | dos | zwei
        three | trois | tres | drei
        four | quatre | cuatro | vier
        five | cinq | cinco | fünf
        six | six | seis | sechs
        seven | sept | siete | sieben
        eight | huit | ocho | acht
        nine | neuf | nueve | neun
        ten | dix | diez | zehn
        eleven | onze | once | elf
        twelve | douze | doce | zwölf
        """, "en", "fr", "es", "de"),
    "many": table("""
        dogs | chiens | perros | Hunde
        cats | chats | gatos | Katzen
        books | livres | libros | Bücher
        children | enfants | hijos | Kinder
        apples | pommes | manzanas | Äpfel
        euros | euros | euros | Euro
        friends | amis | amigos | Freunde
        sisters | sœurs | hermanas | Schwestern
        keys | clés | llaves | Schlüssel
        houses | maisons | casas | Häuser
        tickets | billets | billetes | Fahrkarten
        chairs | chaises | sillas | Stühle
        """, "en", "fr", "es", "de"),
    "city": table("""
        Paris | Paris | París | Paris
        London | Londres | Londres | London
        Berlin | Berlin | Berlín | Berlin
        Madrid | Madrid | Madrid | Madrid
        Vienna | Vienne | Viena | Wien
        Rome | Rome | Roma | Rom
        Lisbon | Lisbonne | Lisboa | Lissabon
        """, "en", "fr", "es", "de"),
    "tongue": table("""
        English | anglais | inglés | Englisch
        French | français | francés | Französisch
        Spanish | espagnol | español | Spanisch
        German | allemand | alemán | Deutsch
        """, "en", "fr", "es", "de"),
    "name": [dict.fromkeys(("en", "fr", "es", "de"), name)
             for name in "Anna Paul Marie Carlos Emma Lucas Sofia Tom Laura Peter".split()],
}

PATTERNS = [[cell.strip() for cell in line.split("|")] for line in """
    Where is {place}? | Où est {place} ? | ¿Dónde está {place}? | Wo ist {place}?
    Is {place} far from here? | Est-ce que {place} est loin d'ici ? | ¿Está lejos de aquí {place}? | Ist {place} weit von hier?
    How do I get to {place}? | Comment aller {place.to} ? | ¿Cómo llego {place.to}? | Wie komme ich {place.to}?
    I am looking for {place}. | Je cherche {place}. | Busco {place}. | Ich suche {place.acc}.
    We are going to {place}. | Nous allons {place.to}. | Vamos {place.to}. | Wir gehen {place.to}.
    I want to go to {place}. | Je veux aller {place.to}. | Quiero ir {place.to}. | Ich möchte {place.to} gehen.
    When does {place} open? | À quelle heure ouvre {place} ? | ¿A qué hora abre {place}? | Wann öffnet {place}?
    Can you show me {place}? | Pouvez-vous me montrer {place} ? | ¿Puede mostrarme {place}? | Können Sie mir {place.acc} zeigen?
    A taxi to {place}, please. | Un taxi pour aller {place.to}, s'il vous plaît. | Un taxi {place.to}, por favor. | Ein Taxi {place.to}, bitte.
    Does this bus go to {place}? | Est-ce que ce bus va {place.to} ? | ¿Este autobús va {place.to}? | Fährt dieser Bus {place.to}?
    I would like {item}, please. | Je voudrais {item}, s'il vous plaît. | Quisiera {item}, por favor. | Ich hätte gern {item.acc}, bitte.
    How much does {item} cost? | Combien coûte {item} ? | ¿Cuánto cuesta {item}? | Was kostet {item}?
    Do you have {item}? | Avez-vous {item} ? | ¿Tiene usted {item}? | Haben Sie {item.acc}?
    I need {item}. | J'ai besoin d'{item}. | Necesito {item}. | Ich brauche {item.acc}.
    Where can I buy {item}? | Où puis-je acheter {item} ? | ¿Dónde puedo comprar {item}? | Wo kann ich {item.acc} kaufen?
    {person} buys {item}. | {person} achète {item}. | {person} compra {item}. | {person} kauft {item.acc}.
    {person} has {item}. | {person} a {item}. | {person} tiene {item}. | {person} hat {item.acc}.
    {person} is looking for {item}. | {person} cherche {item}. | {person} busca {item}. | {person} sucht {item.acc}.
    {person} {act} {when}. | {person} {act} {when}. | {person} {act} {when}. | {person} {act} {when} {act.rest}.
    {person} {act} {when}. | {person} {act} {when}. | {person} {act} {when}. | {person} {act} {when} {act.rest}.
    {ride} leaves at {hour} o'clock. | {ride} part à {hour} heures. | {ride} sale a las {hour}. | {ride} fährt um {hour} Uhr ab.
    {ride} arrives at {hour} o'clock. | {ride} arrive à {hour} heures. | {ride} llega a las {hour}. | {ride} kommt um {hour} Uhr an.
    {thing} is {look}. | {thing} est {look}. | {thing} es {look}. | {thing} ist {look}.
    {thing} is very {look}. | {thing} est très {look}. | {thing} es muy {look}. | {thing} ist sehr {look}.
    {thing} is not {look}. | {thing} n'est pas {look}. | {thing} no es {look}. | {thing} ist nicht {look}.
    I like {liked}. | J'aime {liked}. | Me gusta {liked}. | Ich mag {liked}.
    I do not like {liked}. | Je n'aime pas {liked}. | No me gusta {liked}. | Ich mag {liked} nicht.
    Do you like {liked}? | Aimez-vous {liked} ? | ¿Le gusta {liked}? | Mögen Sie {liked}?
    I have {number} {many}. | J'ai {number} {many}. | Tengo {number} {many}. | Ich habe {number} {many}.
    We need {number} {many}. | Nous avons besoin de {number} {many}. | Necesitamos {number} {many}. | Wir brauchen {number} {many}.
    There are {number} {many} here. | Il y a {number} {many} ici. | Aquí hay {number} {many}. | Hier gibt es {number} {many}.
    I live in {city}. | J'habite à {city}. | Vivo en {city}. | Ich wohne in {city}.
    My name is {name}. | Je m'appelle {name}. | Me llamo {name}. | Ich heiße {name}.
    Do you speak {tongue}? | Parlez-vous {tongue} ? | ¿Habla usted {tongue}? | Sprechen Sie {tongue}?
    I speak a little {tongue}. | Je parle un peu {tongue}. | Hablo un poco de {tongue}. | Ich spreche ein wenig {tongue}.
    """.strip().splitlines() for line in [line]]

PHRASES = [[cell.strip() for cell in line.split("|")] for line in """
    Hello! | Salut ! | ¡Hola! | Hallo!
    Good morning. | Bonjour. | Buenos días. | Guten Morgen.
    Good evening. | Bonsoir. | Buenas tardes. | Guten Abend.
    Good night. | Bonne nuit. | Buenas noches. | Gute Nacht.
    Goodbye. | Au revoir. | Adiós. | Auf Wiedersehen.
    See you tomorrow. | À demain. | Hasta mañana. | Bis morgen.
    See you soon. | À bientôt. | Hasta pronto. | Bis bald.
    Thank you. | Merci. | Gracias. | Danke.
    Thank you very much. | Merci beaucoup. | Muchas gracias. | Vielen Dank.
    You are welcome. | De rien. | De nada. | Gern geschehen.
    Excuse me. | Excusez-moi. | Disculpe. | Entschuldigung.
    I am sorry. | Je suis désolé. | Lo siento. | Es tut mir leid.
    Yes, of course. | Oui, bien sûr. | Sí, por supuesto. | Ja, natürlich.
    No, thank you. | Non, merci. | No, gracias. | Nein, danke.
    Maybe. | Peut-être. | Quizás. | Vielleicht.
    How are you? | Comment allez-vous ? | ¿Cómo está? | Wie geht es Ihnen?
    I am fine. | Je vais bien. | Estoy bien. | Mir geht es gut.
    What is your name? | Comment vous appelez-vous ? | ¿Cómo se llama? | Wie heißen Sie?
    Where do you live? | Où habitez-vous ? | ¿Dónde vive? | Wo wohnen Sie?
    Where are you from? | D'où venez-vous ? | ¿De dónde es usted? | Woher kommen Sie?
    Nice to meet you. | Enchanté. | Mucho gusto. | Freut mich.
    I do not understand. | Je ne comprends pas. | No entiendo. | Ich verstehe nicht.
    I do not know. | Je ne sais pas. | No lo sé. | Ich weiß nicht.
    Can you help me? | Pouvez-vous m'aider ? | ¿Puede ayudarme? | Können Sie mir helfen?
    Can you repeat that? | Pouvez-vous répéter ? | ¿Puede repetir? | Können Sie das wiederholen?
    I am lost. | Je suis perdu. | Estoy perdido. | Ich habe mich verlaufen.
    What time is it? | Quelle heure est-il ? | ¿Qué hora es? | Wie spät ist es?
    It is late. | Il est tard. | Es tarde. | Es ist spät.
    I am hungry. | J'ai faim. | Tengo hambre. | Ich habe Hunger.
    I am thirsty. | J'ai soif. | Tengo sed. | Ich habe Durst.
    I am cold. | J'ai froid. | Tengo frío. | Mir ist kalt.
    I am tired. | Je suis fatigué. | Estoy cansado. | Ich bin müde.
    I am ill. | Je suis malade. | Estoy enfermo. | Ich bin krank.
    The bill, please. | L'addition, s'il vous plaît. | La cuenta, por favor. | Die Rechnung, bitte.
    The menu, please. | La carte, s'il vous plaît. | La carta, por favor. | Die Speisekarte, bitte.
    Can I pay by card? | Puis-je payer par carte ? | ¿Puedo pagar con tarjeta? | Kann ich mit Karte zahlen?
    It is too expensive. | C'est trop cher. | Es demasiado caro. | Das ist zu teuer.
    How much is it? | C'est combien ? | ¿Cuánto es? | Wie viel kostet das?
    It is raining. | Il pleut. | Está lloviendo. | Es regnet.
    It is snowing. | Il neige. | Está nevando. | Es schneit.
    The weather is nice. | Il fait beau. | Hace buen tiempo. | Das Wetter ist schön.
    I love you. | Je t'aime. | Te quiero. | Ich liebe dich.
    Welcome! | Bienvenue ! | ¡Bienvenidos! | Willkommen!
    Congratulations! | Félicitations ! | ¡Felicidades! | Herzlichen Glückwunsch!
    Happy birthday! | Joyeux anniversaire ! | ¡Feliz cumpleaños! | Alles Gute zum Geburtstag!
    Good luck! | Bonne chance ! | ¡Buena suerte! | Viel Glück!
    Have a nice day! | Bonne journée ! | ¡Que tenga un buen día! | Einen schönen Tag!
    Enjoy your meal! | Bon appétit ! | ¡Buen provecho! | Guten Appetit!
    Have a good trip! | Bon voyage ! | ¡Buen viaje! | Gute Reise!
    Where are the toilets? | Où sont les toilettes ? | ¿Dónde están los baños? | Wo sind die Toiletten?
    No problem. | Pas de problème. | No hay problema. | Kein Problem.
    Wait a moment, please. | Un moment, s'il vous plaît. | Un momento, por favor. | Einen Moment, bitte.
    Be careful! | Attention ! | ¡Cuidado! | Vorsicht!
    Help! | Au secours ! | ¡Socorro! | Hilfe!
    I agree. | Je suis d'accord. | Estoy de acuerdo. | Ich bin einverstanden.
    It is very good. | C'est très bon. | Está muy bueno. | Es ist sehr gut.
    What is this? | Qu'est-ce que c'est ? | ¿Qué es esto? | Was ist das?
    I am learning. | J'apprends. | Estoy aprendiendo. | Ich lerne.
    We are on holiday. | Nous sommes en vacances. | Estamos de vacaciones. | Wir sind im Urlaub.
    The train is late. | Le train est en retard. | El tren llega tarde. | Der Zug hat Verspätung.
    """.strip().splitlines() for line in [line]]

SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
CODES = ("en", "fr", "es", "de")


def fill(pattern, code, fillers):
    """Makes the sentence of one language. `{place.to}` is the form `to` of the filler of `place`."""
    def form(match):
        name, variant = match.groups()
        row = fillers[name]
        if name == "look" and code in ("fr", "es"):
            variant = fillers["thing"][code + ".gender"]
        return row[f"{code}.{variant}"] if variant else row[code]
    text = re.sub(r" +([.?!])", r"\1", SLOT.sub(form, pattern)) if code != "fr" else SLOT.sub(form, pattern)
    return text[0].upper() + text[1:]


def sentence(rng, split):
    """Makes one sentence in all four languages."""
    if split != "combination" and rng.random() < 0.2:
        return rng.choice(PHRASES)

    def make():
        pattern = rng.choice(PATTERNS)
        return pattern, {slot: rng.choice(TABLES[slot]) for slot, _ in SLOT.findall(pattern[0])}

    def key(made):
        return ("phrase", made[0][0], *(row["en"] for row in made[1].values()))
    pattern, fillers = draw(rng, split, make, key)
    return [fill(text, code, fillers) for text, code in zip(pattern, CODES)]


WORDINGS = [
    "[Please t|T]ranslate [in|]to {target}: {text}",
    "[Please t|T]ranslate this [sentence |phrase |][in|]to {target}: {text}",
    "Translate [this |]from {source} [in|]to {target}: {text}",
    'Translate "{text}" [in|]to {target}.',
    'How do [you|I] say "{text}" in {target}?',
    'What is "{text}" in {target}?',
    "Say [this |]in {target}: {text}",
    "{source} to {target}: {text}",
    "{target} translation[ of this|], please: {text}",
    'I want to say "{text}" in {target}.',
    "What does \"{text}\" mean in {target}?",
    "[Can|Could] you translate this [in|]to {target}[ for me|]? {text}",
    "In {target}[, please|]: {text}",
    "{text}\n[Translate|Please translate] [this |that |][in|]to {target}.",
    "I need this in {target}: {text}",
    "Write [this |]in {target}: {text}",
    "How would [you|I] say this in {target}: {text}", "Tell me in {target}: {text}", "I only speak {source}. Say it in {target}: {text}",
    "Make this {target}: {text}", "Could you say \"{text}\" in {target}?", "What is the {target} for \"{text}\"?",
    "Help me say this in {target}: {text}", "Which words are \"{text}\" in {target}?", "{text}\nIn {target}, please.",
    "{text}\nHow do I say that in {target}?", "Please put \"{text}\" in {target}.", "My neighbour speaks {target}. How do I tell her: {text}",
    "Give me \"{text}\" in {target}.", "What would \"{text}\" be in {target}?", "I am in a shop and must speak {target}: {text}",
    "Change this to {target}: {text}",
]
UNSEEN = [
    "Give me the {target} for: {text}",
    "Turn this into {target}: {text}",
    'Could you put "{text}" into {target}, please?',
    "{text}\nHow would that sound in {target}?",
    "My friend only understands {target}. Translate for me: {text}",
    'Which {target} sentence means "{text}"?',
]
SYSTEMS = [
    "You are an interpreter. Translate every message into {target}.",
    "Translate everything the user says into {target}.",
    "You translate from {source} to {target}. Answer with the translation only.",
    "You are a live translator. The user speaks {source}, you answer in {target}.",
    "Reply to each message with its {target} translation.",
    "The user writes in {source}. Translate it to {target}.", "Your job is to translate into {target}.", "Say everything in {target}.",
    "You are a translator. Output only {target}.", "Whatever you read, answer with the {target} version.", "Speak {target}: repeat the user's words in {target}.",
    "Translation from {source} to {target}.", "Target language: {target}.", "Be an interpreter and say every message in {target}.", "You are a machine that turns {source} into {target}.", "Write the {target} version of what the user writes.",
    "You help a traveller: put each message into {target}.", "Give the {target} translation of every message.",
]
UNSEEN_SYSTEMS = [
    "Act as an interpreter: whatever the user writes, say it in {target}.",
    "You are a translation service. Output language: {target}.",
]
FOLLOW_UPS = ["And in {target}?", "[Now|And now] in {target}[, please|].", "What about {target}?",
              "[And|Now] the same in {target}.", "How do you say it in {target}?", "And how do you say that in {target}?", "Again, in {target}.", "Also in {target}[, please|].", "{target}?", "And what is that in {target}?"]
UNSEEN_FOLLOW_UPS = ["And how is that in {target}?", "Once more, but in {target}."]


def sample(rng, split):
    """Asks for a translation. Sometimes a second turn asks for the same sentence in another language."""
    texts = sentence(rng, split)
    source, target, other = rng.sample(range(4), 3)
    slots = dict(source=LANGUAGES[source], target=LANGUAGES[target])
    turns = [Turn("phrasebook", casual(rng, choose(rng, split, WORDINGS, UNSEEN, text=texts[source], **slots)),
                  texts[target])]
    if rng.random() < 0.25:
        again = choose(rng, split, FOLLOW_UPS, UNSEEN_FOLLOW_UPS, target=LANGUAGES[other])
        turns.append(Turn("phrasebook", again, texts[other]))
    return turns


def interpret(rng, split):
    """A system prompt sets the languages. Then every message is a text to translate."""
    source, target = rng.sample(range(4), 2)
    system = choose(rng, split, SYSTEMS, UNSEEN_SYSTEMS, source=LANGUAGES[source], target=LANGUAGES[target])
    turns = []
    for _ in range(rng.randint(1, 5)):
        texts = sentence(rng, split)
        said = texts[source]
        if rng.random() < 0.1:
            said = said.rstrip(".?! ")
        turns.append(Turn("phrasebook", said, texts[target], system))
    return turns
