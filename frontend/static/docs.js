// Shows the API's description with Swagger UI, in the light or the dark, as the reader's system has it.
"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// It takes the place of the plain list that is there without JavaScript.
const place = document.getElementById("api");
window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.document,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false, // the token stays in this page, and goes with it
  tryItOutEnabled: true,
  validatorUrl: null, // asks nobody elsewhere
});
